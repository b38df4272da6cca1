// Package h1 is the HTTP/1.1 codec of the data path: pure functions over
// buffers that the event-loop and the goroutine drivers share. It reads request
// and response heads (Request, Response), decodes message bodies (Body), writes
// heads and chunks (Append functions) and normalises request paths
// (NormalizePath). It has no sockets, no goroutines and no clock, and it does
// not allocate once a message's slices have grown to their working size.
//
// # Strictness
//
// Whatever two HTTP parsers could read differently is refused with an *Error
// and the caller closes the connection. The rules, which go beyond RFC 9112
// where it allows leniency:
//
//   - lines end in CR LF; a bare CR or LF is an error anywhere;
//   - control bytes other than HTAB are errors in field values and reasons;
//     bytes from 0x80 on are allowed there (obs-text, RFC 9110 section 5.5);
//   - no obs-fold, no space before the colon, no whitespace before the first
//     field, no empty field name;
//   - a request has at most one Content-Length (even an equal second one is
//     refused), digits only; Transfer-Encoding is exactly "chunked", once, in
//     HTTP/1.1 only and never together with Content-Length;
//   - exactly one Host in HTTP/1.1, at most one in HTTP/1.0, and it is a name of
//     letters, digits, "-", "_", "." and "~" or an IPv4 or bracketed IPv6
//     address, with an optional port;
//   - a target holds visible ASCII only, without "#"; a backslash is refused in
//     path and authority and allowed in the query, where browsers send it raw;
//   - one empty line before the request line is tolerated (RFC 9112 section
//     2.2), a second one is not;
//   - chunk sizes are 1 to 16 hex digits; whitespace is tolerated only where RFC
//     9112 section 7.1.1 calls it BWS, that is around the ";" and "=" of a chunk
//     extension, and extensions must follow their grammar.
//
// Parsing is prefix-monotone: for every prefix of a message Parse answers
// either ErrIncomplete or what it answers for the whole. How the bytes are cut
// into reads therefore never changes the outcome.
package h1
