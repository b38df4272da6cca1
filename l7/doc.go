// Package l7 is the HTTP plane: it turns snapshots into what the drivers serve.
//
// The life of a request, with the function at each step (the event-loop driver; others differ in steps 1, 2, 7, 8 and 10 only):
//
//  1. l7/loop.(*Loop).onClient: bytes have come; readHead reads them into a pooled buffer.
//  2. l7/h1.(*Request).Parse: the head is parsed in place, or refused.
//  3. l7/engine.(*Exchange).Begin: the path is normalised, trust rules are applied.
//  4. l7/engine.(*Exchange).Step: l7/route.(*Table).Match finds the route, then the phases rewrite and access run: global rules, route, consumer.
//  5. l7/upstream.(*Upstream).Pick: a node is chosen; before_proxy runs.
//  6. l7/loop.(*Loop).connectUpstream: an idle connection is taken or a new one dialled.
//  7. l7/loop.(*Loop).sendRequest: head and body go out; pumpRequest moves the rest of the body.
//  8. l7/loop.(*Loop).readResponseHead: the head of the answer is parsed; a failure before it leads back to step 5 (Exchange.NextNode).
//  9. l7/engine.(*Exchange).FilterHead: header_filter; the head and first bytes go to the client in one write.
//  10. l7/loop.(*Loop).pumpResponse: body bytes pass, through FilterBody when a plugin wants them.
//  11. l7/loop.(*Loop).endExchange: the log phase and the access log (Exchange.End); both connections wait for the next request.
//
// The life of a configuration: [Plane.Prepare] compiles what is new in a snapshot and may refuse; Commit publishes it with one atomic store.
package l7
