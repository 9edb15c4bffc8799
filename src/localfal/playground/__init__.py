"""The playground: a web page for the served apps, and the listings of fal's platform API that it reads.

`web/` is the page: HTML, CSS and ES modules, served as they are.
"""
