package engine

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/sluice-gateway/sluice/l7/h1"
	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/upstream"
)

// hostOnly returns the host of an authority in lower case and without port ($host).
func hostOnly(ex *plugin.Exchange, hostPort []byte) []byte {
	h := hostPort
	if len(h) > 0 && h[len(h)-1] != ']' {
		if i := bytes.LastIndexByte(h, ':'); i >= 0 {
			h = h[:i]
		}
	}
	if n := len(h); n > 1 && h[n-1] == '.' {
		h = h[:n-1]
	}
	for _, c := range h {
		if 'A' <= c && c <= 'Z' {
			low := ex.Copy(h)
			for i, c := range low {
				if 'A' <= c && c <= 'Z' {
					low[i] = c + 32
				}
			}
			return low
		}
	}
	return h
}

// SetFields fills Request.Header from a parsed head, leaving out what must not be forwarded and the forwarding fields that only a trusted peer may set.
func (x *Exchange) SetFields(fields []plugin.Field, kinds []h1.FieldKind) {
	dst := x.Request.Header.Fields()[:0]
	for i := range fields {
		if kinds[i].Dropped() {
			continue
		}
		dst = append(dst, fields[i])
	}
	x.Request.Header.Reset(dst)
}

// forwardedFields sets X-Forwarded-Proto, -Host and -Port to what this hop saw, unless a trusted peer sent its own, and drops Forwarded from others. With trust
// configured, an untrusted peer's X-Forwarded-For goes too (apisix/init.lua handle_trusted_x_forwarded_headers).
func (x *Exchange) forwardedFields() {
	h := &x.Request.Header
	var proto, host, port bool
	drop := !x.trusted
	dropFor := drop && len(x.engine.conf.TrustedAddresses) > 0
	fields := h.Fields()
	n := 0
	for i := range fields {
		name := fields[i].Name
		if len(name) >= 9 && (name[0]|0x20 == 'x' || name[0]|0x20 == 'f') {
			switch h1.KindOf(name) {
			case h1.KindXFProto:
				if drop {
					continue
				}
				proto = true
			case h1.KindXFHost:
				if drop {
					continue
				}
				host = true
			case h1.KindXFPort:
				if drop {
					continue
				}
				port = true
			case h1.KindXFF:
				if dropFor {
					x.SetVar("original_x_forwarded_for", fields[i].Value)
					continue
				}
			case h1.KindXRealIP:
				continue
			default:
				if drop && h1.EqualFold(name, "forwarded") {
					continue
				}
			}
		}
		if n != i {
			fields[n] = fields[i]
		}
		n++
	}
	fields = fields[:n]
	if !proto {
		fields = append(fields, plugin.Field{Name: nameXFProto, Value: plugin.Bytes(x.Request.Scheme)})
	}
	if !host {
		fields = append(fields, plugin.Field{Name: nameXFHost, Value: x.Request.HostPort})
	}
	if !port {
		fields = append(fields, plugin.Field{Name: nameXFPort, Value: x.forwardedPort()})
	}
	h.Reset(fields)
}

var (
	nameXFProto = []byte("X-Forwarded-Proto")
	nameXFHost  = []byte("X-Forwarded-Host")
	nameXFPort  = []byte("X-Forwarded-Port")
)

// forwardedPort is the port of the Host field, else that of the listener.
func (x *Exchange) forwardedPort() []byte {
	hp := x.Request.HostPort
	if i := bytes.LastIndexByte(hp, ':'); i >= 0 && hp[len(hp)-1] != ']' && i+1 < len(hp) {
		return hp[i+1:]
	}
	switch port := x.Server.Port(); port {
	case 80:
		return port80
	case 443:
		return port443
	default:
		return x.Int(int64(port))
	}
}

var port80, port443 = []byte("80"), []byte("443")

// targetOf writes path and the query as a request target in scratch memory.
func (x *Exchange) targetOf(path []byte) []byte {
	b := x.Alloc(len(path) + len(x.Request.Query) + 16)[:0]
	if x.engine.conf.MatchURIEncodedSlash {
		b = h1.AppendEscapedSlashPath(b, path)
	} else {
		b = h1.AppendEscapedPath(b, path)
	}
	if x.Request.HasQuery {
		b = append(b, '?')
		b = append(b, x.Request.Query...)
	}
	return b
}

// UpstreamHost is the Host that the upstream gets. What a plugin has set counts only with pass_host pass: the upstream's configuration is applied after the plugins have run
// (apisix/init.lua set_upstream_host).
func (x *Exchange) UpstreamHost() []byte {
	switch x.Up.PassHost {
	case upstream.HostNode:
		return x.Node.HostFor(x.Upstream.Scheme)
	case upstream.HostRewrite:
		return x.Up.Host
	}
	if h := x.Request.UpstreamHost; h != nil {
		return h
	}
	if len(x.Request.HostPort) == 0 {
		// An HTTP/1.0 client need not send one; an HTTP/1.1 server may refuse a request without (RFC 9112 3.2).
		return x.Node.HostFor(x.Upstream.Scheme)
	}
	return x.Request.HostPort
}

// AppendRequestHead writes the request head for the upstream as HTTP/1.1. A body of unknown length is chunked; otherwise Request.ContentLength is sent when there is a body or the
// client has announced an empty one.
func (x *Exchange) AppendRequestHead(dst []byte) []byte {
	r := &x.Request
	dst = append(append(dst, r.Method...), ' ')
	switch {
	case r.UpstreamTarget != nil:
		dst = append(dst, r.UpstreamTarget...)
	default:
		if x.engine.conf.MatchURIEncodedSlash {
			dst = h1.AppendEscapedSlashPath(dst, r.Path)
		} else {
			dst = h1.AppendEscapedPath(dst, r.Path)
		}
		if r.HasQuery {
			dst = append(append(dst, '?'), r.Query...)
		}
	}
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, x.UpstreamHost()...)
	dst = append(dst, "\r\nX-Real-IP: "...)
	dst = x.Client.Addr().Unmap().AppendTo(dst)
	dst = append(dst, "\r\nX-Forwarded-For: "...)
	fields := r.Header.Fields()
	for i := range fields {
		if len(fields[i].Name) == len("X-Forwarded-For") && h1.KindOf(fields[i].Name) == h1.KindXFF && len(fields[i].Value) > 0 {
			dst = append(append(dst, fields[i].Value...), ", "...)
		}
	}
	dst = x.Client.Addr().Unmap().AppendTo(dst)
	dst = append(dst, '\r', '\n')
	for i := range fields {
		f := &fields[i]
		switch h1.KindOf(f.Name) {
		case h1.KindHost, h1.KindContentLength, h1.KindExpect, h1.KindXFF, h1.KindXRealIP,
			h1.KindConnection, h1.KindHopByHop, h1.KindUpgrade, h1.KindTE, h1.KindTrailer, h1.KindTransferEncoding, h1.KindUnderscore:
			continue
		}
		dst = append(append(dst, f.Name...), ':', ' ')
		dst = append(append(dst, f.Value...), '\r', '\n')
	}
	switch {
	case r.ContentLength < 0:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case r.ContentLength > 0 || r.Header.Has("Content-Length"):
		dst = append(dst, "Content-Length: "...)
		dst = append(strconv.AppendInt(dst, r.ContentLength, 10), '\r', '\n')
	}
	return append(dst, '\r', '\n')
}

// ResponseHead takes the head that the upstream sent: status, reason, fields and the length of the body or -1. FilterHead follows.
func (x *Exchange) ResponseHead(status int, reason []byte, fields []plugin.Field, kinds []h1.FieldKind, length int64) {
	resp := &x.Response
	resp.Status, resp.Reason, resp.ContentLength = status, reason, length
	dst := resp.Header.Fields()[:0]
	for i := range fields {
		k := kinds[i]
		// Names with an underscore endanger origins only; clients get them, as from nginx.
		if k.Dropped() && k != h1.KindUnderscore || k == h1.KindContentLength || k == h1.KindServer {
			continue
		}
		dst = append(dst, fields[i])
	}
	resp.Header.Reset(dst)
	if !x.head && string(x.Request.Method) == http.MethodHead {
		resp.ContentLength = 0 // a plugin has made HEAD of the method: no body comes
	}
	x.Source = plugin.SourceUpstream
	if n := len(x.Upstream.Attempts); n > 0 {
		x.Upstream.Attempts[n-1].Status = status
	}
}

// FilterHead runs the header_filter phase and gives the response head its final form. An error answer replaces the response when a filter fails; the driver then
// sends ReplyBody instead of the upstream's body: it asks Answering afterwards.
func (x *Exchange) FilterHead() {
	x.ownFields()
	if !x.headerFilters() {
		x.ownFields()
	}
}

// ownFields sets the fields that the gateway adds to every response, those that request phases asked for among them.
func (x *Exchange) ownFields() {
	resp := &x.Response
	early := resp.Early.Fields()
	for i := range early {
		resp.Header.Set(plugin.String(early[i].Name), early[i].Value)
	}
	if len(x.engine.server) > 0 {
		resp.Header.Set("Server", x.engine.server)
	}
	x.upstreamStatusField()
}

func (x *Exchange) upstreamStatusField() {
	att := x.Upstream.Attempts
	if len(att) == 0 {
		return
	}
	last := att[len(att)-1].Status
	if last == 0 {
		last = x.Response.Status
	}
	if !x.engine.conf.ShowUpstreamStatus && (last < 500 || last > 599) {
		return
	}
	b := x.Alloc(8 * len(att))[:0]
	for i := range att {
		if i > 0 {
			b = append(b, ", "...)
		}
		s := att[i].Status
		if s == 0 {
			s = x.Response.Status
		}
		b = strconv.AppendInt(b, int64(s), 10)
	}
	x.Response.Header.Set("X-APISIX-Upstream-Status", b)
}

// headerFilters runs the header_filter phase; it is false when a filter failed and an error answer has taken the response's place.
func (x *Exchange) headerFilters() (ok bool) {
	if len(x.global.headerFilter) == 0 && len(x.chain.headerFilter) == 0 {
		return true
	}
	defer func() {
		if p := recover(); p != nil {
			x.panicked(p)
			x.current = nil
			ok = false
		}
	}()
	for _, list := range [2][]*Unit{x.global.headerFilter, x.chain.headerFilter} {
		for _, u := range list {
			if u.filter != nil && !x.passes(u) {
				continue
			}
			x.current = u
			if err := u.headerFilter.HeaderFilter(&x.Exchange); err != nil {
				x.fault(err)
				x.current = nil
				return false
			}
		}
	}
	x.current = nil
	return true
}

// NoBody tells whether the response has no body on the client's connection (RFC 9110 6.4.1). It is the method that the client sent which counts, whatever a plugin has made of it for the upstream.
func (x *Exchange) NoBody() bool {
	s := x.Response.Status
	return s < 200 || s == http.StatusNoContent || s == http.StatusNotModified || x.head
}

// Framing says how a response body is delimited on the client's connection.
type Framing struct {
	// None means that no body follows. Chunked is chunked transfer coding. Close means that the end of the connection is the end of the body.
	None, Chunked, Close bool
}

// ResponseFraming decides how the body of the filtered response goes to a client of HTTP/1.minor.
func (x *Exchange) ResponseFraming(minor int) Framing {
	if x.NoBody() {
		return Framing{None: true}
	}
	if x.Response.ContentLength >= 0 {
		return Framing{None: x.Response.ContentLength == 0}
	}
	if minor == 0 {
		return Framing{Close: true}
	}
	return Framing{Chunked: true}
}

// AppendResponseHead writes the filtered response head as HTTP/1.1. date is the current Date value, used when the response has none; a minor of 0 is a client of HTTP/1.0.
func (x *Exchange) AppendResponseHead(dst, date []byte, f Framing, keepAlive bool, minor int) []byte {
	resp := &x.Response
	dst = h1.AppendStatusLine(dst, resp.Status, resp.Reason)
	hasDate := false
	for _, fl := range resp.Header.Fields() {
		switch h1.KindOf(fl.Name) {
		case h1.KindDate:
			hasDate = true
		case h1.KindConnection, h1.KindHopByHop, h1.KindUpgrade, h1.KindTransferEncoding, h1.KindContentLength:
			continue
		}
		dst = append(append(dst, fl.Name...), ':', ' ')
		dst = append(append(dst, fl.Value...), '\r', '\n')
	}
	if !hasDate {
		dst = append(dst, "Date: "...)
		dst = append(append(dst, date...), '\r', '\n')
	}
	switch {
	case f.Chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case resp.Status < 200 || resp.Status == http.StatusNoContent:
	case resp.ContentLength >= 0 && (resp.Status != http.StatusNotModified || resp.ContentLength > 0):
		dst = append(dst, "Content-Length: "...)
		dst = append(strconv.AppendInt(dst, resp.ContentLength, 10), '\r', '\n')
	}
	switch {
	case !keepAlive:
		dst = append(dst, "Connection: close\r\n"...)
	case minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, '\r', '\n')
}

// FiltersBody tells whether the response body has to go through FilterBody.
func (x *Exchange) FiltersBody() bool {
	return len(x.global.bodyFilter) > 0 || len(x.chain.bodyFilter) > 0
}

// FilterBody runs the body_filter phase on one piece. What it returns is valid until the next call. After an error the connection has to be cut.
func (x *Exchange) FilterBody(chunk []byte, last bool) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			x.panickedLate(p)
			out, err = nil, ErrAborted
		}
	}()
	for _, list := range [2][]*Unit{x.global.bodyFilter, x.chain.bodyFilter} {
		for _, u := range list {
			if u.filter != nil && !x.passes(u) {
				continue
			}
			x.current = u
			if chunk, err = u.bodyFilter.BodyFilter(&x.Exchange, chunk, last); err != nil {
				x.engine.Faults.Add(1)
				x.engine.faults.log(x.engine.conf.Logger, "plugin failed", u.def.Name, x.Exchange.Route.ID, err, nil)
				return nil, ErrAborted
			}
		}
	}
	x.current = nil
	return chunk, nil
}

// End runs the log phase and writes the access log. The exchange must not be used afterwards, except for Reset.
func (x *Exchange) End() {
	if x.engine == nil {
		return
	}
	x.release()
	if len(x.global.log) > 0 || len(x.chain.log) > 0 {
		x.logPhase()
	}
	if x.engine.conf.AccessLog != nil {
		x.engine.conf.AccessLog(x.Loop, &x.Exchange)
	}
}

func (x *Exchange) logPhase() {
	for _, list := range [2][]*Unit{x.global.log, x.chain.log} {
		for _, u := range list {
			if u.filter == nil || x.passes(u) {
				x.logOne(u)
			}
		}
	}
}

func (x *Exchange) logOne(u *Unit) {
	x.current = u
	defer func() {
		if p := recover(); p != nil {
			x.panickedLate(p)
		}
	}()
	u.logger.Log(&x.Exchange)
}

// BeginMalformed is Begin for a message that is refused before it is a request: the answer passes no plugins, only the access log.
func (x *Exchange) BeginMalformed(e *Engine, status int) {
	x.engine, x.state = e, e.state.Load()
	x.head = string(x.Request.Method) == http.MethodHead
	x.global, x.chain = emptyChain, emptyChain
	if x.Request.Scheme == "" {
		x.Request.Scheme, x.Request.Protocol = "http", "HTTP/1.1"
	}
	x.Refuse(status)
}
