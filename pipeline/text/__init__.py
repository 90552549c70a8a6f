"""Texts: rules for captions, languages, dumps of Wikipedia and WordNet, queries found in captions."""
