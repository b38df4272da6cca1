package plugin

import (
	"context"
	"net/netip"
	"time"
)

// Exchange is one request and its response on their way through the gateway. The engine owns it and reuses it; a plugin must not keep it
// after its phase returned.
type Exchange struct {
	// Request is what the client sent, as edited so far; it is what the upstream will get.
	Request Request
	// Response is what the client will get. Before the upstream answered, only Response.Early is meaningful.
	Response Response

	// Peer is the address of the connection's other end, Client the address of the client after trusted addresses and real-ip were applied.
	Peer, Client netip.AddrPort
	// Server is the local address that the connection came in on.
	Server netip.AddrPort
	// ConnSeq is a number unique to the client connection in this process, ConnRequests the number of requests on it so far.
	ConnSeq, ConnRequests uint64

	// Route identifies what matched; its fields are empty when nothing did.
	Route RouteInfo
	// Consumer is set by SetConsumer.
	Consumer *Consumer
	// Consumers finds consumers in the configuration that this exchange began with.
	Consumers *ConsumerIndex
	// Upstream tells about the choice of the upstream node and its answer.
	Upstream UpstreamInfo

	// Start is when the first byte of the request was read; Now is the clock of the current event. Both are monotonic nanoseconds of Clock.
	Start, Now int64
	// WallStart is the wall clock time of Start.
	WallStart time.Time
	// BytesIn and BytesOut count bytes on the client connection that belong to this exchange, heads included.
	BytesIn, BytesOut int64
	// BodyBytesOut counts response body bytes without framing.
	BodyBytesOut int64

	// BodyMissed tells that a variable of the request body was read before the body was buffered, and so had no value.
	BodyMissed bool

	// Delay, set by a request phase, makes the engine wait that long before it goes on, or before it sends the phase's reply. It is reset afterwards.
	Delay time.Duration
	// Source says who made the response, for metrics.
	Source ResponseSource

	ctx     context.Context
	arena   []byte
	values  []value
	vars    []customVar
	params  []Param
	args    argCache
	cookies cookieCache
}

// ResponseSource says where a response came from.
type ResponseSource uint8

// The sources, as the metric label response_source names them.
const (
	SourceNone     ResponseSource = iota
	SourceUpstream                // "upstream"
	SourceGateway                 // "apisix": a plugin or the gateway answered
	SourceProxy                   // "nginx": the gateway could not get an answer from the upstream
)

// String is the metric label.
func (s ResponseSource) String() string {
	switch s {
	case SourceUpstream:
		return "upstream"
	case SourceProxy:
		return "nginx"
	default:
		return "apisix"
	}
}

// Request is the request in a form that does not depend on the protocol it came by.
type Request struct {
	// Method is the method token; plugins may replace it.
	Method []byte
	// Target is the request target as it came ($real_request_uri).
	Target []byte
	// Path is the normalised, percent-decoded path ($uri); router, plugins and upstream see the same.
	Path []byte
	// Query is the raw query without "?"; HasQuery tells "/a?" from "/a".
	Query    []byte
	HasQuery bool
	// Host is the lower-case host name without port ($host), HostPort the authority as sent ($http_host).
	Host, HostPort []byte
	// Header holds the fields, hop-by-hop ones included; the engine leaves those out when it sends the request on.
	Header Header
	// Scheme is "http" or "https". Protocol is "HTTP/1.0", "HTTP/1.1", "HTTP/2.0" or "HTTP/3.0".
	Scheme, Protocol string
	// HeadBytes is the size of the head on the wire.
	HeadBytes int
	// ContentLength is the length of the body, 0 for none, -1 when it is not known beforehand.
	ContentLength int64
	// Body holds the whole body when it was buffered (see BodyReader) and BodyBuffered is true. SetBody replaces it.
	Body         []byte
	BodyBuffered bool

	// UpstreamTarget, when not nil, is the request target for the upstream in place of Path and Query.
	UpstreamTarget []byte
	// UpstreamHost, when not nil, is the Host for the upstream, whatever pass_host says.
	UpstreamHost []byte
	// UpstreamScheme, when not empty, replaces the upstream's scheme.
	UpstreamScheme string
}

// Response is the response in a form that does not depend on the protocol it goes out by.
type Response struct {
	// Status is the status code that the client gets; Reason is the upstream's reason phrase or nil.
	Status int
	Reason []byte
	// Header holds the fields that the client gets; framing fields are the driver's business and are not in it.
	Header Header
	// Early holds fields that request phases want in the response whatever it will be; they replace fields of the same name.
	Early Header
	// ContentLength is the length of the body or -1. BodyWillChange makes it -1.
	ContentLength int64
}

// RouteInfo identifies the configuration that serves an exchange.
type RouteInfo struct {
	ID, Name               string
	ServiceID, ServiceName string
	// MatchedURI and MatchedHost are the patterns of the route that matched.
	MatchedURI, MatchedHost string
}

// UpstreamInfo tells how the request went to the upstream.
type UpstreamInfo struct {
	// Node is the host:port of the last node as configured, Addr its resolved address.
	Node string
	Addr netip.AddrPort
	// Scheme is the upstream's scheme, empty before a node is chosen.
	Scheme string
	// Host is the Host for the node, by pass_host; nil before a node is chosen.
	Host []byte
	// Attempts lists all attempts in order.
	Attempts []Attempt
	// BytesIn and BytesOut count bytes from and to the upstream.
	BytesIn, BytesOut int64
}

// Attempt is one attempt to get an answer from a node. Times are nanoseconds of Clock, 0 when the event did not happen.
type Attempt struct {
	Addr                               netip.AddrPort
	Status                             int
	Started, Connected, Headers, Ended int64
}

// Param is a path parameter of radixtree_uri_with_parameter.
type Param struct {
	Name  string
	Value []byte
}

type value struct{ key, val any }

type customVar struct {
	name string
	val  []byte
}

// maxKeptAttempts is how many attempts Reset keeps memory for.
const maxKeptAttempts = 16

// Reset makes ex ready for another request and keeps its memory.
func (ex *Exchange) Reset() {
	req, early, att := ex.Request.Header.fields[:0], ex.Response.Early.fields[:0], ex.Upstream.Attempts[:0]
	resp := ex.Response.Header.fields[:0]
	clear(ex.values)
	if cap(att) > maxKeptAttempts {
		att = nil
	}
	arena := ex.arena[:0]
	if cap(arena) > 16<<10 {
		arena = nil
	}
	*ex = Exchange{arena: arena, values: ex.values[:0], vars: ex.vars[:0], params: ex.params[:0],
		args: argCache{list: ex.args.list[:0]}, cookies: cookieCache{list: ex.cookies.list[:0]}}
	ex.Request.Header.fields, ex.Response.Early.fields, ex.Upstream.Attempts = req, early, att
	ex.Response.Header.fields = resp
}

// Alloc returns n bytes of scratch memory that live as long as the exchange; their content is undefined.
func (ex *Exchange) Alloc(n int) []byte {
	if len(ex.arena)+n > cap(ex.arena) {
		size := 1024
		for size < n {
			size *= 2
		}
		if c := 2 * cap(ex.arena); size < c && c <= 16<<10 {
			size = c
		}
		// The old block stays alive through the slices that were cut from it.
		ex.arena = make([]byte, 0, size)
	}
	l := len(ex.arena)
	ex.arena = ex.arena[:l+n]
	return ex.arena[l : l+n : l+n]
}

// Copy puts b into scratch memory.
func (ex *Exchange) Copy(b []byte) []byte {
	c := ex.Alloc(len(b))
	copy(c, b)
	return c
}

// Concat joins parts in scratch memory.
func (ex *Exchange) Concat(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := ex.Alloc(n)[:0]
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// Int writes n in decimal in scratch memory.
func (ex *Exchange) Int(n int64) []byte {
	var tmp [20]byte
	i := len(tmp)
	neg := n < 0
	u := uint64(n)
	if neg {
		u = -u
	}
	for {
		i--
		tmp[i] = byte('0' + u%10)
		u /= 10
		if u == 0 {
			break
		}
	}
	if neg {
		i--
		tmp[i] = '-'
	}
	return ex.Copy(tmp[i:])
}

// Context ends when the client went away or the exchange is over. It is for phases of a Waiter; elsewhere it is context.Background.
func (ex *Exchange) Context() context.Context {
	if ex.ctx == nil {
		return context.Background()
	}
	return ex.ctx
}

// SetContext is for the engine.
func (ex *Exchange) SetContext(ctx context.Context) { ex.ctx = ctx }

// SetValue keeps v for this exchange under key, as context.WithValue does; plugins use a private key type or a pointer. A later call with the same key replaces.
func (ex *Exchange) SetValue(key, v any) {
	for i := range ex.values {
		if ex.values[i].key == key {
			ex.values[i].val = v
			return
		}
	}
	ex.values = append(ex.values, value{key, v})
}

// Value returns what SetValue kept under key, or nil.
func (ex *Exchange) Value(key any) any {
	for i := range ex.values {
		if ex.values[i].key == key {
			return ex.values[i].val
		}
	}
	return nil
}

// SetVar sets a variable that conditions, templates and log formats can read; it hides a built-in one of the same name.
func (ex *Exchange) SetVar(name string, v []byte) {
	for i := range ex.vars {
		if ex.vars[i].name == name {
			ex.vars[i].val = v
			return
		}
	}
	ex.vars = append(ex.vars, customVar{name, v})
}

// SetParams is for the router: the path parameters of the match. It keeps a copy of the slice.
func (ex *Exchange) SetParams(p []Param) { ex.params = append(ex.params[:0], p...) }

// Param returns a path parameter.
func (ex *Exchange) Param(name string) ([]byte, bool) {
	for i := range ex.params {
		if ex.params[i].Name == name {
			return ex.params[i].Value, true
		}
	}
	return nil, false
}

// SetConsumer attaches the consumer that an auth plugin found: it sets the variables consumer_name and consumer_group_id and the
// request fields X-Consumer-Username, X-Credential-Identifier and X-Consumer-Custom-ID for the upstream, removing what the client sent under those
// names (apisix/consumer.lua attach_consumer).
func (ex *Exchange) SetConsumer(c *Consumer) {
	ex.Consumer = c
	set := func(name, v string) {
		if v == "" {
			ex.Request.Header.Del(name)
			return
		}
		ex.Request.Header.SetString(name, v)
	}
	set("X-Consumer-Username", c.Username)
	set("X-Credential-Identifier", c.CredentialID)
	set("X-Consumer-Custom-ID", c.CustomID)
}

// SetQuery replaces the query.
func (ex *Exchange) SetQuery(q []byte) {
	ex.Request.Query, ex.Request.HasQuery = q, len(q) > 0
	ex.args.valid = false
}

// SetBody replaces the request body, which must have been buffered.
func (ex *Exchange) SetBody(b []byte) {
	ex.Request.Body, ex.Request.BodyBuffered, ex.Request.ContentLength = b, true, int64(len(b))
}

// BodyWillChange tells that a body filter is going to change the response body: length, validators and encoding of the original no
// longer hold (apisix/core/response.lua clear_header_as_body_modified).
func (ex *Exchange) BodyWillChange() {
	ex.Response.ContentLength = -1
	for _, name := range []string{"Content-Length", "Content-Encoding", "Last-Modified", "ETag"} {
		ex.Response.Header.Del(name)
	}
}
