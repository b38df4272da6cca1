// Package engine is what every HTTP driver shares: one semantics, whatever the request came by.
//
// A driver (l7/loop for plain HTTP/1.1, goroutine drivers for the rest) owns sockets and framing; the engine owns meaning. For each request the driver
// fills Exchange.Request, calls [Exchange.Begin], and then [Exchange.Step] until it has a [Verdict]:
//
//	Answer   the gateway answers itself: FilterHead, AppendResponseHead, ReplyBody, End
//	Proxy    a node is picked: AppendRequestHead, send, read the response head, ResponseHead, FilterHead,
//	         AppendResponseHead, FilterBody for each piece, End
//	Delay    call Step again after Exchange.Delay
//	Block    a plugin may wait: call StepBlocking on a goroutine, then Step again
//	NeedBody buffer the request body, put it into Request.Body, call Step again
//
// When a node fails before the client got a byte, [Exchange.NextNode] says whether and where to try again.
//
// Nothing here does I/O or starts goroutines. The published configuration is a [State]; an exchange keeps the one that it began with.
package engine
