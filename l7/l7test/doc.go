// Package l7test holds what tests of the HTTP plane share: a plane on a loopback address (Start), a scriptable raw upstream (NewUpstream), raw clients
// (Dial), an independent strict reader of messages (ReadRequest, ReadResponse), suites that hold for every way to run the plane (Framing, Semantics), and
// a harness that counts the allocations of proxied requests (Allocations).
//
// It imports no plugin. A test that wants plugins registers them, puts them into the snapshot and gives that to the harness.
package l7test
