"""Texts: pairs out of HTML, languages, dumps of Wikipedia and WordNet, queries found in captions."""
