"""Running workloads: suites to cases, cases to ranks through torch's launcher, ranks to records. The parent never imports torch."""
