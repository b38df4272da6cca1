package plugin

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"time"
)

// Var reads one variable of an exchange. ok is false when the variable has no value (nil in APISIX's terms); the bytes are valid as
// long as the exchange.
type Var func(ex *Exchange) (val []byte, ok bool)

// CompileVar resolves a variable name, without "$", to its reader: nginx's names, their families (arg_, http_, cookie_, sent_http_,
// upstream_http_, post_arg_, post_arg., graphql_, uri_param_) and APISIX's (route_id, consumer_name, balancer_ip ...; apisix/core/ctx.lua). A name that
// nothing defines reads what a plugin may have set with SetVar, and is otherwise without value.
func CompileVar(name string) Var {
	if v, ok := builtin[name]; ok {
		return custom(name, v)
	}
	for _, f := range families {
		if rest, ok := strings.CutPrefix(name, f.prefix); ok && rest != "" {
			return custom(name, f.compile(rest))
		}
	}
	return custom(name, func(*Exchange) ([]byte, bool) { return nil, false })
}

// KnownVar tells whether CompileVar knows the name by itself; it is for warnings about misspelt names.
func KnownVar(name string) bool {
	if _, ok := builtin[name]; ok {
		return true
	}
	for _, f := range families {
		if strings.HasPrefix(name, f.prefix) && len(name) > len(f.prefix) {
			return true
		}
	}
	return false
}

// VarNeedsBody tells whether reading the variable needs the request body.
func VarNeedsBody(name string) bool {
	return strings.HasPrefix(name, "post_arg_") || strings.HasPrefix(name, "post_arg.") ||
		strings.HasPrefix(name, "graphql_") || name == "request_body"
}

// custom lets SetVar hide a variable.
func custom(name string, v Var) Var {
	return func(ex *Exchange) ([]byte, bool) {
		for i := range ex.vars {
			if ex.vars[i].name == name {
				return ex.vars[i].val, true
			}
		}
		return v(ex)
	}
}

var families = []struct {
	prefix  string
	compile func(rest string) Var
}{
	{"arg_", func(n string) Var {
		return func(ex *Exchange) ([]byte, bool) { v, ok := ex.Arg(n); return v, ok }
	}},
	{"cookie_", func(n string) Var {
		return func(ex *Exchange) ([]byte, bool) { return ex.Cookie(n) }
	}},
	{"http_", func(n string) Var {
		n = strings.ToLower(strings.ReplaceAll(n, "_", "-"))
		return func(ex *Exchange) ([]byte, bool) { return joined(ex, &ex.Request.Header, n) }
	}},
	{"sent_http_", sentHTTP},
	{"upstream_http_", sentHTTP},
	{"uri_param_", func(n string) Var {
		return func(ex *Exchange) ([]byte, bool) { return ex.Param(n) }
	}},
	{"post_arg_", func(n string) Var {
		return func(ex *Exchange) ([]byte, bool) {
			for _, f := range ex.Form() {
				if string(f.Name) == n {
					return f.Value, true
				}
			}
			return nil, false
		}
	}},
	{"post_arg.", postArgPath},
	{"graphql_", graphqlVar},
}

func sentHTTP(n string) Var {
	n = strings.ToLower(strings.ReplaceAll(n, "_", "-"))
	return func(ex *Exchange) ([]byte, bool) { return joined(ex, &ex.Response.Header, n) }
}

// joined returns the value of a field; several lines are joined with ", " as nginx does.
func joined(ex *Exchange, h *Header, name string) ([]byte, bool) {
	var first []byte
	found := false
	for i := range h.fields {
		f := &h.fields[i]
		if !EqualFold(f.Name, name) {
			continue
		}
		if !found {
			first, found = f.Value, true
			continue
		}
		first = ex.Concat(first, comma, f.Value)
	}
	return first, found
}

var (
	comma     = []byte(", ")
	dash      = []byte("-")
	question  = []byte("?")
	hostname  = func() []byte { h, _ := os.Hostname(); return []byte(h) }()
	pid       = []byte(strconv.Itoa(os.Getpid()))
	protocol2 = []byte("HTTP/2.0")
)

func str(get func(ex *Exchange) string) Var {
	return func(ex *Exchange) ([]byte, bool) {
		s := get(ex)
		return Bytes(s), s != ""
	}
}

func raw(get func(ex *Exchange) []byte) Var {
	return func(ex *Exchange) ([]byte, bool) {
		b := get(ex)
		return b, b != nil
	}
}

func num(get func(ex *Exchange) int64) Var {
	return func(ex *Exchange) ([]byte, bool) { return ex.Int(get(ex)), true }
}

var builtin map[string]Var

func init() {
	builtin = map[string]Var{
		"uri":              raw(func(ex *Exchange) []byte { return ex.Request.Path }),
		"document_uri":     raw(func(ex *Exchange) []byte { return ex.Request.Path }),
		"args":             raw(func(ex *Exchange) []byte { return ex.Request.Query }),
		"query_string":     raw(func(ex *Exchange) []byte { return ex.Request.Query }),
		"host":             raw(func(ex *Exchange) []byte { return ex.Request.Host }),
		"method":           raw(func(ex *Exchange) []byte { return ex.Request.Method }),
		"request_method":   raw(func(ex *Exchange) []byte { return ex.Request.Method }),
		"real_request_uri": raw(func(ex *Exchange) []byte { return ex.Request.Target }),
		"request_uri":      requestURI,
		"is_args": func(ex *Exchange) ([]byte, bool) {
			if len(ex.Request.Query) > 0 {
				return question, true
			}
			return emptyValue, true
		},
		"request":         requestLine,
		"request_line":    requestLine,
		"scheme":          str(func(ex *Exchange) string { return ex.Request.Scheme }),
		"server_protocol": str(func(ex *Exchange) string { return ex.Request.Protocol }),
		"http2": func(ex *Exchange) ([]byte, bool) {
			if ex.Request.Protocol == string(protocol2) {
				return []byte("h2"), true
			}
			return emptyValue, true
		},
		"https": func(ex *Exchange) ([]byte, bool) {
			if ex.Request.Scheme == "https" {
				return []byte("on"), true
			}
			return emptyValue, true
		},
		"request_body": func(ex *Exchange) ([]byte, bool) { return ex.Request.Body, ex.hasBody() },
		"content_type": func(ex *Exchange) ([]byte, bool) {
			v := ex.Request.Header.Get("Content-Type")
			return v, v != nil
		},
		"content_length": func(ex *Exchange) ([]byte, bool) {
			v := ex.Request.Header.Get("Content-Length")
			return v, v != nil
		},
		"request_length": num(func(ex *Exchange) int64 { return ex.BytesIn }),

		"remote_addr":        func(ex *Exchange) ([]byte, bool) { return addr(ex, ex.Client.Addr().Unmap().AppendTo), true },
		"binary_remote_addr": func(ex *Exchange) ([]byte, bool) { return ex.Copy(ex.Client.Addr().Unmap().AsSlice()), true },
		"remote_port":        num(func(ex *Exchange) int64 { return int64(ex.Client.Port()) }),
		"realip_remote_addr": func(ex *Exchange) ([]byte, bool) { return addr(ex, ex.Peer.Addr().Unmap().AppendTo), true },
		"realip_remote_port": num(func(ex *Exchange) int64 { return int64(ex.Peer.Port()) }),
		"server_addr":        func(ex *Exchange) ([]byte, bool) { return addr(ex, ex.Server.Addr().Unmap().AppendTo), true },
		"server_port":        num(func(ex *Exchange) int64 { return int64(ex.Server.Port()) }),
		"server_name":        func(ex *Exchange) ([]byte, bool) { return []byte("_"), true },
		"connection":         num(func(ex *Exchange) int64 { return int64(ex.ConnSeq) }),
		"connection_requests": num(func(ex *Exchange) int64 {
			return int64(ex.ConnRequests)
		}),
		"hostname": func(*Exchange) ([]byte, bool) { return hostname, true },
		"pid":      func(*Exchange) ([]byte, bool) { return pid, true },
		"proxy_add_x_forwarded_for": func(ex *Exchange) ([]byte, bool) {
			ip := addr(ex, ex.Client.Addr().Unmap().AppendTo)
			if prev, ok := joined(ex, &ex.Request.Header, "x-forwarded-for"); ok && len(prev) > 0 {
				return ex.Concat(prev, comma, ip), true
			}
			return ip, true
		},

		"status":          num(func(ex *Exchange) int64 { return int64(ex.Response.Status) }),
		"bytes_sent":      num(func(ex *Exchange) int64 { return ex.BytesOut }),
		"body_bytes_sent": num(func(ex *Exchange) int64 { return ex.BodyBytesOut }),
		"request_time":    func(ex *Exchange) ([]byte, bool) { return seconds(ex, ex.Now-ex.Start), true },
		"msec": func(ex *Exchange) ([]byte, bool) {
			t := ex.wallNow()
			return ex.Copy(appendSeconds(make([]byte, 0, 24), t.UnixNano())), true
		},
		"time_iso8601": func(ex *Exchange) ([]byte, bool) {
			return ex.wallNow().AppendFormat(ex.Alloc(32)[:0], "2006-01-02T15:04:05-07:00"), true
		},
		"time_local": func(ex *Exchange) ([]byte, bool) {
			return ex.wallNow().AppendFormat(ex.Alloc(32)[:0], "02/Jan/2006:15:04:05 -0700"), true
		},
		"request_id": func(ex *Exchange) ([]byte, bool) { return requestID(ex), true },
		// The plugin request-id sets this one; without it both are the same (apisix/cli/ngx_tpl.lua).
		"apisix_request_id": func(ex *Exchange) ([]byte, bool) { return requestID(ex), true },

		"upstream_addr": attempts(func(ex *Exchange, b []byte, a *Attempt) []byte { return a.Addr.AppendTo(b) }),
		"upstream_status": attempts(func(ex *Exchange, b []byte, a *Attempt) []byte {
			if a.Status == 0 {
				return append(b, '-')
			}
			return strconv.AppendInt(b, int64(a.Status), 10)
		}),
		"upstream_response_time": attempts(func(ex *Exchange, b []byte, a *Attempt) []byte { return appendSpan(b, a.Started, a.Ended) }),
		"upstream_header_time":   attempts(func(ex *Exchange, b []byte, a *Attempt) []byte { return appendSpan(b, a.Started, a.Headers) }),
		"upstream_connect_time":  attempts(func(ex *Exchange, b []byte, a *Attempt) []byte { return appendSpan(b, a.Started, a.Connected) }),
		"upstream_bytes_received": num(func(ex *Exchange) int64 {
			return ex.Upstream.BytesIn
		}),
		"upstream_bytes_sent": num(func(ex *Exchange) int64 { return ex.Upstream.BytesOut }),
		"upstream_scheme":     str(func(ex *Exchange) string { return cmp.Or(ex.Upstream.Scheme, ex.Request.UpstreamScheme, "http") }),
		"upstream_host": raw(func(ex *Exchange) []byte {
			switch {
			case ex.Upstream.Host != nil:
				return ex.Upstream.Host
			case ex.Request.UpstreamHost != nil:
				return ex.Request.UpstreamHost
			}
			return ex.Request.HostPort
		}),
		"upstream_uri": func(ex *Exchange) ([]byte, bool) { return ex.Request.UpstreamTarget, true },
		"upstream_unresolved_host": func(ex *Exchange) ([]byte, bool) {
			h := ex.Upstream.Node
			if i := strings.LastIndexByte(h, ':'); i > 0 {
				h = h[:i]
			}
			return Bytes(h), h != ""
		},
		"balancer_ip": func(ex *Exchange) ([]byte, bool) {
			if !ex.Upstream.Addr.IsValid() {
				return nil, false
			}
			return addr(ex, ex.Upstream.Addr.Addr().Unmap().AppendTo), true
		},
		"balancer_port": func(ex *Exchange) ([]byte, bool) {
			if !ex.Upstream.Addr.IsValid() {
				return nil, false
			}
			return ex.Int(int64(ex.Upstream.Addr.Port())), true
		},

		"route_id":     str(func(ex *Exchange) string { return ex.Route.ID }),
		"route_name":   str(func(ex *Exchange) string { return ex.Route.Name }),
		"service_id":   str(func(ex *Exchange) string { return ex.Route.ServiceID }),
		"service_name": str(func(ex *Exchange) string { return ex.Route.ServiceName }),
		"matched_uri":  str(func(ex *Exchange) string { return ex.Route.MatchedURI }),
		"matched_host": str(func(ex *Exchange) string { return ex.Route.MatchedHost }),
		"consumer_name": func(ex *Exchange) ([]byte, bool) {
			if ex.Consumer == nil {
				return nil, false
			}
			return Bytes(ex.Consumer.Username), true
		},
		"consumer_group_id": func(ex *Exchange) ([]byte, bool) {
			if ex.Consumer == nil || ex.Consumer.GroupID == "" {
				return nil, false
			}
			return Bytes(ex.Consumer.GroupID), true
		},
		"credential_id": func(ex *Exchange) ([]byte, bool) {
			if ex.Consumer == nil || ex.Consumer.CredentialID == "" {
				return nil, false
			}
			return Bytes(ex.Consumer.CredentialID), true
		},
		"request_type": func(ex *Exchange) ([]byte, bool) { return []byte("traditional_http"), true },
	}
}

func addr(ex *Exchange, appendTo func([]byte) []byte) []byte {
	return appendTo(ex.Alloc(48)[:0])
}

func requestURI(ex *Exchange) ([]byte, bool) {
	if len(ex.Request.Query) == 0 {
		return ex.Request.Path, true
	}
	return ex.Concat(ex.Request.Path, question, ex.Request.Query), true
}

func requestLine(ex *Exchange) ([]byte, bool) {
	n := len(ex.Request.Method) + len(ex.Request.Target) + len(ex.Request.Protocol) + 2
	b := ex.Alloc(n)[:0]
	b = append(append(b, ex.Request.Method...), ' ')
	b = append(append(b, ex.Request.Target...), ' ')
	return append(b, ex.Request.Protocol...), true
}

// attempts joins one value per attempt with ", " as nginx does for its upstream variables.
func attempts(one func(ex *Exchange, b []byte, a *Attempt) []byte) Var {
	return func(ex *Exchange) ([]byte, bool) {
		if len(ex.Upstream.Attempts) == 0 {
			return nil, false
		}
		b := ex.Alloc(64 * len(ex.Upstream.Attempts))[:0]
		for i := range ex.Upstream.Attempts {
			if i > 0 {
				b = append(b, comma...)
			}
			b = one(ex, b, &ex.Upstream.Attempts[i])
		}
		return b, true
	}
}

func appendSpan(b []byte, from, to int64) []byte {
	if to == 0 {
		return append(b, dash...)
	}
	return appendSeconds(b, to-from)
}

func seconds(ex *Exchange, ns int64) []byte { return appendSeconds(ex.Alloc(24)[:0], ns) }

// appendSeconds writes nanoseconds as seconds with three decimals.
func appendSeconds(b []byte, ns int64) []byte {
	if ns < 0 {
		ns = 0
	}
	ms := ns / int64(time.Millisecond)
	b = strconv.AppendInt(b, ms/1000, 10)
	ms %= 1000
	return append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}

func (ex *Exchange) wallNow() time.Time { return ex.WallStart.Add(time.Duration(ex.Now - ex.Start)) }

// requestID returns what request_id is or makes it.
func requestID(ex *Exchange) []byte {
	const name = "request_id"
	for i := range ex.vars {
		if ex.vars[i].name == name {
			return ex.vars[i].val
		}
	}
	r := ex.Alloc(16)
	rand.Read(r)
	b := ex.Alloc(32)
	hex.Encode(b, r)
	ex.SetVar(name, b)
	return b
}

// TrimVar cuts "$" or "${...}" from a variable reference and returns the name; ok is false for anything else.
func TrimVar(ref []byte) (name string, ok bool) {
	if len(ref) < 2 || ref[0] != '$' {
		return "", false
	}
	ref = ref[1:]
	if ref[0] == '{' {
		if ref[len(ref)-1] != '}' {
			return "", false
		}
		ref = ref[1 : len(ref)-1]
	}
	if len(ref) == 0 || bytes.ContainsAny(ref, " ${}") {
		return "", false
	}
	return string(ref), true
}
