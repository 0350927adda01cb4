"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A busy machine makes any single example slow: that is not what these tests look for.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")
