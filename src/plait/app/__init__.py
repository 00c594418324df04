"""``plait app``: a page that answers for a picture and its title, and shows what the answer came from."""
