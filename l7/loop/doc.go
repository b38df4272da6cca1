// Package loop is the event-loop driver of plain HTTP/1.1: one loop per core, raw non-blocking sockets, one state machine per connection.
//
// A [Group] runs N loops. Each has its own SO_REUSEPORT listeners, epoll instance, client connections, upstream connections with their idle pools,
// buffers and timers; nothing of that is shared, so there are no locks, channels or goroutine changes between reading a request and writing its response. A
// connection lives and dies on its loop.
//
// The life of a request here, with the functions in order: [Loop.run] waits; onClient reads into a pooled buffer and readHead parses it in place; begin
// hands it to the engine and step acts on its verdict; connectUpstream takes an idle connection or dials; sendRequest writes head and body; onUpstream reads
// the answer, onResponseHead sends head and first bytes in one call, pumpResponse the rest; finish and endExchange give everything back.
//
// Waiting: a raw epoll wait of at most a millisecond first, which keeps the processor with the loop while there is traffic, then an ordinary blocking system
// call, which lets the Go scheduler have it. GOMAXPROCS has to be at least loops + 1.
//
// Descriptors are registered once, edge-triggered; a read that returns less than was asked for has drained the socket. Events carry slot and generation, so
// an event of a closed descriptor never reaches its successor.
package loop
