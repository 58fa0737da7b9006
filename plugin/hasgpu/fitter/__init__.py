"""Process fitter: a short-lived child that fits what serving processes only look up. Speaks to no cluster."""
