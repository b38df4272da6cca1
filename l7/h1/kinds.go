package h1

// FieldKind classifies a field of a parsed head, so that later passes need not
// compare names again.
type FieldKind uint8

// The kinds. Those up to KindTransferEncoding must not be forwarded; ask
// FieldKind.Dropped.
const (
	KindOther FieldKind = iota

	// KindUnderscore is a name with "_". Origins that map "-" to "_" (CGI,
	// WSGI) would take it for another field, so it is dropped, as nginx does.
	KindUnderscore
	// KindNamed is a field that a Connection option of the same head names
	// (RFC 9110 section 7.6.1).
	KindNamed
	// KindHopByHop is Keep-Alive, Proxy-Connection or HTTP2-Settings.
	KindHopByHop
	KindConnection
	KindUpgrade
	KindTE
	KindTrailer
	KindTransferEncoding

	KindHost
	KindContentLength
	KindExpect
	KindXFF     // X-Forwarded-For
	KindXFProto // X-Forwarded-Proto
	KindXFHost  // X-Forwarded-Host
	KindXFPort  // X-Forwarded-Port
	KindXRealIP
	KindAuthorization
	KindCookie
	KindUserAgent
	KindReferer
	KindAcceptEncoding
	KindContentType
	KindContentEncoding
	KindServer
	KindDate

	kindCount
)

// Dropped reports whether a field of this kind belongs to the connection it
// came on, or is unsafe to forward, and must be left out of the outgoing head.
func (k FieldKind) Dropped() bool {
	return k >= KindUnderscore && k <= KindTransferEncoding
}

// KindOf classifies a field name by itself; it never returns KindNamed, which
// depends on the rest of the head.
func KindOf(name []byte) FieldKind {
	for _, c := range name {
		if c == '_' {
			return KindUnderscore
		}
	}
	return kindOf(name)
}

// kindOf is KindOf for a name without underscore.
func kindOf(name []byte) FieldKind {
	switch len(name) {
	case 2:
		if EqualFold(name, "te") {
			return KindTE
		}
	case 4:
		switch lower[name[0]] {
		case 'h':
			if EqualFold(name, "host") {
				return KindHost
			}
		case 'd':
			if EqualFold(name, "date") {
				return KindDate
			}
		}
	case 6:
		switch lower[name[0]] {
		case 'c':
			if EqualFold(name, "cookie") {
				return KindCookie
			}
		case 'e':
			if EqualFold(name, "expect") {
				return KindExpect
			}
		case 's':
			if EqualFold(name, "server") {
				return KindServer
			}
		}
	case 7:
		switch lower[name[0]] {
		case 'u':
			if EqualFold(name, "upgrade") {
				return KindUpgrade
			}
		case 't':
			if EqualFold(name, "trailer") {
				return KindTrailer
			}
		case 'r':
			if EqualFold(name, "referer") {
				return KindReferer
			}
		}
	case 9:
		if EqualFold(name, "x-real-ip") {
			return KindXRealIP
		}
	case 10:
		switch lower[name[0]] {
		case 'c':
			if EqualFold(name, "connection") {
				return KindConnection
			}
		case 'u':
			if EqualFold(name, "user-agent") {
				return KindUserAgent
			}
		case 'k':
			if EqualFold(name, "keep-alive") {
				return KindHopByHop
			}
		}
	case 12:
		if EqualFold(name, "content-type") {
			return KindContentType
		}
	case 13:
		if EqualFold(name, "authorization") {
			return KindAuthorization
		}
	case 14:
		switch lower[name[0]] {
		case 'c':
			if EqualFold(name, "content-length") {
				return KindContentLength
			}
		case 'h':
			if EqualFold(name, "http2-settings") {
				return KindHopByHop
			}
		}
	case 15:
		switch lower[name[0]] {
		case 'x':
			if EqualFold(name, "x-forwarded-for") {
				return KindXFF
			}
		case 'a':
			if EqualFold(name, "accept-encoding") {
				return KindAcceptEncoding
			}
		}
	case 16:
		switch lower[name[0]] {
		case 'x':
			if EqualFold(name, "x-forwarded-host") {
				return KindXFHost
			}
			if EqualFold(name, "x-forwarded-port") {
				return KindXFPort
			}
		case 'c':
			if EqualFold(name, "content-encoding") {
				return KindContentEncoding
			}
		case 'p':
			if EqualFold(name, "proxy-connection") {
				return KindHopByHop
			}
		}
	case 17:
		switch lower[name[0]] {
		case 't':
			if EqualFold(name, "transfer-encoding") {
				return KindTransferEncoding
			}
		case 'x':
			if EqualFold(name, "x-forwarded-proto") {
				return KindXFProto
			}
		}
	}
	return KindOther
}

// HopByHop reports whether a field of this name is meant for one connection
// only and must not be forwarded: Connection and the fields of RFC 9110 section
// 7.6.1 (Keep-Alive, Proxy-Connection, TE, Trailer, Transfer-Encoding, Upgrade)
// and HTTP2-Settings (RFC 7540 section 3.2.1). Fields that a Connection field
// names are hop-by-hop too; a parsed head marks them KindNamed.
func HopByHop(name []byte) bool {
	k := kindOf(name)
	return k >= KindHopByHop && k <= KindTransferEncoding
}

// TrailerAllowed reports whether a trailer field of this name may be forwarded.
// It is an allow list, because a trailer can otherwise smuggle fields past
// checks made on the head (RFC 9110 section 6.5.1): digests, gRPC's status
// fields, Server-Timing and ETag.
func TrailerAllowed(name []byte) bool {
	switch len(name) {
	case 4:
		return EqualFold(name, "etag")
	case 6:
		return EqualFold(name, "digest")
	case 11:
		return EqualFold(name, "grpc-status") || EqualFold(name, "repr-digest") || EqualFold(name, "content-md5")
	case 12:
		return EqualFold(name, "grpc-message")
	case 13:
		return EqualFold(name, "server-timing")
	case 14:
		return EqualFold(name, "content-digest")
	case 23:
		return EqualFold(name, "grpc-status-details-bin")
	}
	return false
}
