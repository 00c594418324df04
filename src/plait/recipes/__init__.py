"""Recipes: ingredients as sets, answers held to what recipes say, and local chat models."""
