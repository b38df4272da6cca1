// Package upstream chooses the server that a request goes to.
//
// A [Set] compiles each snapshot.Upstream once into an [Upstream]: its settings in the form that the engine needs, and a table of
// [Node] values, one for each address. Configured names become addresses in the background (see [Resolver]); when an answer changes, the
// table is built aside and switched with one atomic store, so a pick never waits and never sees half a change.
//
// The life of a request here: [Upstream.HashKey] when [Upstream.NeedsKey], then for each attempt [Upstream.Pick], [Upstream.Report] with
// what came of the attempt, and [Upstream.Release] when the attempt no longer uses the node. No connection is made here; drivers own
// sockets and idle pools and may key the latter by [Node.ID], which stays the same across configuration changes.
//
// What a node remembers (requests in flight, response time, failures, health) belongs to the resource, the configured
// host:port and the address, not to one compiled configuration, so an edit does not reset it.
//
// Which nodes a pick considers, in this order, each step within the priority groups from high to low:
//
//  1. nodes that are healthy, did not just fail, and were not tried by this request;
//  2. nodes that are healthy and untried, though they just failed;
//  3. when no node at all is healthy: any untried node.
//
// So neither failure memory nor health checks ever leave an upstream without a node. Nodes of weight 0 are never picked.
package upstream
