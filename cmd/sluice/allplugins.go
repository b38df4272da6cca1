package main

// Every plugin that is built in registers itself when it is imported.
import (
	_ "github.com/sluice-gateway/sluice/l7/plugins/consumerrestriction"
	_ "github.com/sluice-gateway/sluice/l7/plugins/keyauth"
	_ "github.com/sluice-gateway/sluice/l7/plugins/prometheus"
)
