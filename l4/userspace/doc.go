// Package userspace serves stream routes by proxying connections: TCP, UDP, TLS that ends here, and TLS that passes through by its server name.
//
// The life of a TCP connection, with the function at each step:
//
//  1. (*Plane).acceptTCP takes it; (*Plane).serveTCP runs it on a goroutine of its own.
//  2. (*session).identify: the PROXY protocol header, when the listener expects one, tells who the client is; a TLS handshake, or the ClientHello of a handshake that is to
//     pass, tells the server name.
//  3. (*table).match finds the stream route: by server name first, then the others in order of creation.
//  4. (*route).admit runs the plugins; one that answers refuses the connection.
//  5. (*session).connect picks a node, dials it, and tries others when it cannot be reached.
//  6. relay moves bytes both ways. Between two plain TCP sockets they do not pass through this process: Go's io.Copy splices.
//  7. (*Plane).finish runs the plugins' log phase and writes the access log.
//
// A UDP datagram of an unknown client begins a session in the same way (steps 3 to 5); see udpListener. Datagrams move in batches, several with one system call.
//
// A configuration change publishes a new table. Connections and sessions stay with the route that they began with.
package userspace
