package main

// Every plugin that is built in registers itself when it is imported.
import (
	_ "github.com/sluice-gateway/sluice/l7/plugins/consumerrestriction"
	_ "github.com/sluice-gateway/sluice/l7/plugins/cors"
	_ "github.com/sluice-gateway/sluice/l7/plugins/echo"
	_ "github.com/sluice-gateway/sluice/l7/plugins/faultinjection"
	_ "github.com/sluice-gateway/sluice/l7/plugins/iprestriction"
	_ "github.com/sluice-gateway/sluice/l7/plugins/keyauth"
	_ "github.com/sluice-gateway/sluice/l7/plugins/limitconn"
	_ "github.com/sluice-gateway/sluice/l7/plugins/limitcount"
	_ "github.com/sluice-gateway/sluice/l7/plugins/limitreq"
	_ "github.com/sluice-gateway/sluice/l7/plugins/prometheus"
	_ "github.com/sluice-gateway/sluice/l7/plugins/proxyrewrite"
	_ "github.com/sluice-gateway/sluice/l7/plugins/redirect"
	_ "github.com/sluice-gateway/sluice/l7/plugins/requestid"
	_ "github.com/sluice-gateway/sluice/l7/plugins/responserewrite"
)
