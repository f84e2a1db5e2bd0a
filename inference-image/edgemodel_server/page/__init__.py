"""What people see in a browser: the model's page, the description of the API, and the compression's own report.

* ``report``   ``report.json`` beside the model → what was tried
* ``plot``     points → a chart's geometry
* ``example``  a valid inference request for the model
* ``view``     card and report → the texts and figures of the page
* ``openapi``  the API as an OpenAPI document
* ``schemas``  the JSON in it
* ``render``   templates → HTML with its Content-Security-Policy
* ``routes``   the routes

Nothing is fetched from elsewhere: style and script are part of the document.
"""
