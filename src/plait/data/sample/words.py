"""The words that page titles are made of. Sites are invented."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """What people write about one dish.

    Attributes:
        names: phrases that name it, the commonest first.
        parts: ingredients, most of them shared with other dishes.
        families: phrases that fit it and several other dishes as well.
    """

    names: tuple[str, ...]
    parts: tuple[str, ...]
    families: tuple[str, ...]


def _words(names: str, parts: str, families: str) -> Words:
    return Words(*(tuple(phrase.strip() for phrase in text.split(",")) for text in (names, parts, families)))


_BREAKFAST = "brunch ideas, sunday breakfast, breakfast for a crowd, griddle breakfast"
_BAKING = "baking, weekend bakes, bake sale favourites, old-fashioned desserts"
_SWEET = "sweet treats, party desserts, desserts to share"
_ASIAN = "asian street food, noodle bar favourites, takeaway at home, japanese home cooking"
_HANDHELD = "street food at home, game night food, finger food, food truck favourites"

WORDS: dict[str, Words] = {
    "apple_pie": _words(
        "apple pie, apple pie, double crust apple pie, lattice apple pie, dutch apple pie, "
        "grandma's apple pie, deep dish pie",
        "cinnamon, brown sugar, butter crust, granny smith apples, nutmeg, clotted cream, caramel",
        f"{_BAKING}, {_SWEET}, thanksgiving desserts, fall apple recipes",
    ),
    "bagel": _words(
        "bagel, bagels, everything bagel, new york style bagels, bagel sandwich, homemade bagels, "
        "boiled and baked rings",
        "cream cheese, smoked salmon, sesame seeds, poppy seeds, capers, yeast, eggs, bacon",
        f"{_BREAKFAST}, bread and rolls, yeast doughs, lunchbox ideas",
    ),
    "burger": _words(
        "burger, burgers, cheeseburger, hamburger, beef burgers, smash burger, turkey burger, veggie burger, sliders",
        "cheddar, ground beef, pickles, bacon, avocado, onion, lettuce, sesame seeds",
        f"{_HANDHELD}, backyard grilling, cookout recipes, things in a bun",
    ),
    "cheesecake": _words(
        "cheesecake, cheesecake, no-bake cheesecake, baked cheesecake, new york cheesecake, "
        "cheese cake, cheesecake slice",
        "cream cheese, graham crackers, strawberries, blueberries, vanilla, caramel, lemon, chocolate",
        f"{_BAKING}, {_SWEET}, cakes with a crumb base, cream cheese desserts",
    ),
    "cupcakes": _words(
        "cupcakes, cupcakes, cupcake, chocolate cupcakes, vanilla cupcakes, red velvet cupcakes, "
        "cup cakes, fairy cakes, muffins",
        "buttercream, sprinkles, vanilla, chocolate, cream cheese frosting, lemon, strawberries",
        f"{_BAKING}, {_SWEET}, birthday treats, frosting and icing, children's party food",
    ),
    "donuts": _words(
        "donuts, donuts, doughnuts, glazed donuts, baked donuts, doughnut, cake donuts, sugar-dusted rings",
        "sprinkles, vanilla glaze, chocolate, cinnamon sugar, yeast, buttermilk, maple",
        f"{_BREAKFAST}, {_SWEET}, frosting and icing, yeast doughs, deep-fried favourites",
    ),
    "fried_eggs": _words(
        "fried eggs, fried egg, sunny side up eggs, eggs over easy, sunny-side-up, crispy fried eggs, eggs and toast",
        "eggs, bacon, butter, toast, black pepper, chives, olive oil, avocado",
        f"{_BREAKFAST}, one-pan meals, ways with eggs, breakfast with bacon",
    ),
    "ice_cream": _words(
        "ice cream, ice cream, no-churn ice cream, soft serve, ice cream sundae, gelato, "
        "ice cream cone, homemade ice cream",
        "vanilla, chocolate, strawberries, caramel, cream, sprinkles, cherries, mint",
        f"{_SWEET}, frozen desserts, summer treats, children's party food",
    ),
    "pancakes": _words(
        "pancakes, pancakes, buttermilk pancakes, fluffy pancakes, pancake, hotcakes, flapjacks, pancake stack",
        "maple syrup, blueberries, buttermilk, bananas, butter, vanilla, eggs, chocolate chips",
        f"{_BREAKFAST}, batter recipes, breakfast with maple syrup, pajama day breakfast",
    ),
    "pizza": _words(
        "pizza, pizza, homemade pizza, margherita pizza, thin crust pizza, pepperoni pizza, "
        "deep dish pie, skillet pizza",
        "mozzarella, tomato sauce, basil, pepperoni, mushrooms, olives, yeast, bell peppers",
        f"{_HANDHELD}, italian favourites, yeast doughs, friday night dinner",
    ),
    "ramen": _words(
        "ramen, ramen, tonkotsu ramen, miso ramen, shoyu ramen, ramen noodle soup, spicy ramen, "
        "ramen noodles, noodle soup",
        "soft-boiled eggs, pork, noodles, scallions, nori, soy sauce, ginger, sesame oil",
        f"{_ASIAN}, soups and broths, dinner in a bowl",
    ),
    "salad": _words(
        "salad, salad, greek salad, chopped salad, caesar salad, garden salad, side salad, salad bowl, tossed greens",
        "lettuce, feta, tomatoes, cucumber, avocado, olives, olive oil, eggs, croutons",
        "light lunches, healthy sides, dinner in a bowl, summer sides, lunchbox ideas, cookout recipes",
    ),
    "spring_rolls": _words(
        "spring rolls, spring rolls, fresh spring rolls, crispy spring rolls, "
        "vietnamese spring rolls, egg rolls, summer rolls",
        "rice paper, shrimp, carrots, cabbage, pork, soy sauce, ginger, peanut sauce",
        f"{_ASIAN}, {_HANDHELD}, rolled and wrapped, starters and appetizers",
    ),
    "sushi": _words(
        "sushi, sushi, sushi rolls, california roll, nigiri sushi, maki rolls, salmon sushi, "
        "homemade sushi, sushi rice",
        "nori, rice, salmon, avocado, tuna, soy sauce, ginger, sesame seeds, cucumber",
        f"{_ASIAN}, rolled and wrapped, starters and appetizers, cooking with rice and seaweed",
    ),
    "tacos": _words(
        "tacos, tacos, taco, fish tacos, chicken tacos, taco night, carnitas tacos, street tacos, breakfast tacos",
        "ground beef, salsa, cilantro, avocado, lime, cheddar, tortillas, cabbage, onion",
        f"{_HANDHELD}, mexican favourites, rolled and wrapped, tortilla recipes",
    ),
    "waffles": _words(
        "waffles, waffles, belgian waffles, crispy waffles, waffle, buttermilk waffles, "
        "waffle iron recipes, liege waffles",
        "maple syrup, strawberries, buttermilk, butter, vanilla, eggs, whipped cream, chocolate chips",
        f"{_BREAKFAST}, batter recipes, breakfast with maple syrup, weekend bakes",
    ),
}

ADJECTIVES = (
    "easy", "best", "perfect", "simple", "quick", "classic", "homemade", "healthy", "vegan", "gluten-free", "spicy",
    "weeknight", "ultimate", "favorite", "mini", "30-minute", "loaded", "light", "crispy", "the best ever", "foolproof",
    "my mother's", "good old", "budget", "make-ahead", "low-fat", "family", "award-winning", "restaurant-style", "lazy",
)  # fmt: skip

FRAMES = (
    "{core} recipe", "{core}", "how to make {core}", "{core} recipes", "{core} - step by step", "recipe: {core}",
    "{n} {core} recipes you will love", "{core} for two", "{core} (with video)", "the secret of good {core}",
    "recipe for {core}", "{core} in {m} minutes", "{core} - photos and reviews", "what we ate: {core}", "{core}!",
    "where to find {core} near the harbour", "{core} calories and nutrition facts", "{core} stock photo", "{core} 101",
)  # fmt: skip

VAGUE = (
    "our favourite dinner ideas", "recipe of the day", "what's for supper tonight?", "in my kitchen this month",
    "{n} recipes to try before summer ends", "recipe index", "weekly meal plan #{n}", "a letter from the kitchen",
    "best places to eat near the old market", "page {n}", "image {n}{m}.jpg", "photos from the weekend",
    "food photography tips for beginners", "print this recipe", "cooking for friends", "{n} comfort food classics",
    "kitchen notes", "search results for your recipe", "about us", "menu", "our trip to the coast, day {n}",
    "happy monday", "giveaway: win a mixer", "holiday recipes", "tips, tricks and shortcuts",
    "the test kitchen diaries",
    "readers' recipes", "lunch review", "untitled document", "save this for later", "recipes with {part}",
    "how to cook with {part}", "{n} ways to use up {part}", "{part}: buying and storing",
)  # fmt: skip

FAMILY_FRAMES = (
    "{family}", "{family}: {n} ideas", "our best {family}", "{family} with {part}", "{n} recipes: {family}",
    "{family} - recipe collection", "{part} and more: {family}", "the big list of {family}",
)  # fmt: skip

SITES = (
    "the hungry spoon", "the crooked ladle", "plum & pepperpot", "forkful of tuesdays", "saffron teakettle",
    "oat & ember",
    "my tiny yellow kitchen", "thimble and thyme", "the borrowed whisk", "two cooks one stove", "dinner by lamplight",
    "recipebarrel.example", "cookpotter.example", "the marigold larder", "crumbs on the piano", "nine lemon lane",
    "supper at the lighthouse", "pinch, dash, glug", "the patient dumpling", "butter on both sides",
    "wooden spoon weekly",
    "stovetop almanac", "bright radish", "tastytable.example", "a pan of one's own", "the quiet colander",
)  # fmt: skip

JOINS = ("and", "or", "vs", "instead of", "after the")
BREAKS = (" | ", " | ", " - ", " - ", " : ", " at ", " :: ", " » ", " from ")
DEBRIS = (
    "&#8217;s pick",
    "&amp; more",
    "xc3 xa8",
    "8226",
    "&nbsp;",
    "&#8211;",
    "amp",
    "']",
    "&quot;",
    "xe2 x80 x99",
    "...",
)
