package plugintest

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// Request returns the exchange of a request from 127.0.0.1 to http://localhost as the engine hands it to plugins. The target is taken
// apart at "?" and its path is taken as it is, without decoding. Fields are written "Name: value"; "Host: ..." replaces the host.
func Request(method, target string, fields ...string) *plugin.Exchange {
	ex := &plugin.Exchange{}
	Refill(ex, method, target, fields...)
	return ex
}

// Refill makes ex the exchange that Request would return and keeps its memory, for tests that count allocations.
func Refill(ex *plugin.Exchange, method, target string, fields ...string) {
	list := ex.Request.Header.Fields()[:0]
	ex.Reset()
	r := &ex.Request
	r.Method, r.Target = []byte(method), []byte(target)
	path, query, has := strings.Cut(target, "?")
	r.Path, r.Query, r.HasQuery = []byte(path), []byte(query), has
	r.Scheme, r.Protocol = "http", "HTTP/1.1"
	r.Host, r.HostPort = []byte("localhost"), []byte("localhost")
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		value = strings.TrimSpace(value)
		if strings.EqualFold(name, "host") {
			r.HostPort = []byte(value)
			host, _, _ := strings.Cut(value, ":")
			r.Host = []byte(strings.ToLower(host))
		}
		list = append(list, plugin.Field{Name: []byte(name), Value: []byte(value)})
	}
	r.Header.Reset(list)
	ex.Peer = netip.MustParseAddrPort("127.0.0.1:40000")
	ex.Client, ex.Server = ex.Peer, netip.MustParseAddrPort("127.0.0.1:9080")
	ex.Start = plugin.Clock()
	ex.Now, ex.WallStart = ex.Start, time.Now()
}

// Upstream is the answer of the upstream node in Run.
type Upstream struct {
	// Status is 200 when it is 0.
	Status int
	// Fields are header fields, "Name: value".
	Fields []string
	// Chunks are the pieces in which the body arrives.
	Chunks []string
}

// Result is what became of a request.
type Result struct {
	// Replied tells that a plugin answered in place of the upstream. Delay is the sum of the delays that plugins asked for.
	Replied bool
	Delay   time.Duration
	// Status and Body are what the client gets, Fields its header fields in order, "Name: value".
	Status int
	Fields []string
	Body   string
	// Err is the first error of a phase; the phases after it did not run.
	Err error
}

// Header returns the values of the response field of that name, joined with ", ", or "-" when there is no such field.
func (r *Result) Header(name string) string {
	var vals []string
	for _, f := range r.Fields {
		if n, v, _ := strings.Cut(f, ": "); strings.EqualFold(n, name) {
			vals = append(vals, v)
		}
	}
	if vals == nil {
		return "-"
	}
	return strings.Join(vals, ", ")
}

// Run takes ex through all phases with the instances in the order given: rewrite, access and before_proxy until one replies, then the
// filters on the reply or on the upstream's answer, then log. An empty error page stands for nginx's.
func Run(ex *plugin.Exchange, up Upstream, insts ...plugin.Instance) *Result {
	r := &Result{}
	reply := r.request(ex, insts)
	if r.Err != nil {
		return r
	}
	resp := &ex.Response
	chunks := []string(nil)
	if reply != nil {
		r.Replied = true
		ex.Source = plugin.SourceGateway
		resp.Status = reply.Status
		resp.Header.Reset(resp.Header.Fields()[:0])
		for _, f := range reply.Header {
			resp.Header.Add(string(f.Name), f.Value)
		}
		if len(reply.Body) > 0 {
			ct := reply.ContentType
			if ct == "" {
				ct = "text/plain; charset=utf-8"
			}
			if !resp.Header.Has("Content-Type") {
				resp.Header.SetString("Content-Type", ct)
			}
			chunks = []string{string(reply.Body)}
		}
		resp.ContentLength = int64(len(reply.Body))
	} else {
		r.answer(ex, up)
		chunks = up.Chunks
	}
	early := resp.Early.Fields()
	for i := range early {
		resp.Header.Set(string(early[i].Name), early[i].Value)
	}
	r.response(ex, chunks, insts)
	return r
}

// request runs the request phases.
func (r *Result) request(ex *plugin.Exchange, insts []plugin.Instance) *plugin.Reply {
	type phase func(plugin.Instance) (*plugin.Reply, error)
	for _, run := range []phase{
		func(i plugin.Instance) (*plugin.Reply, error) {
			if p, ok := i.(plugin.Rewriter); ok {
				return p.Rewrite(ex)
			}
			return nil, nil
		},
		func(i plugin.Instance) (*plugin.Reply, error) {
			if p, ok := i.(plugin.Accesser); ok {
				return p.Access(ex)
			}
			return nil, nil
		},
		func(i plugin.Instance) (*plugin.Reply, error) {
			if p, ok := i.(plugin.BeforeProxier); ok {
				return p.BeforeProxy(ex)
			}
			return nil, nil
		},
	} {
		for _, inst := range insts {
			reply, err := run(inst)
			if err != nil {
				r.Err = err
				return nil
			}
			r.Delay += ex.Delay
			ex.Delay = 0
			if reply != nil {
				return reply
			}
		}
	}
	return nil
}

func (r *Result) answer(ex *plugin.Exchange, up Upstream) {
	resp := &ex.Response
	ex.Source = plugin.SourceUpstream
	resp.Status = up.Status
	if resp.Status == 0 {
		resp.Status = 200
	}
	resp.Header.Reset(resp.Header.Fields()[:0])
	for _, f := range up.Fields {
		name, value, _ := strings.Cut(f, ":")
		resp.Header.Add(name, []byte(strings.TrimSpace(value)))
	}
	resp.ContentLength = 0
	for _, c := range up.Chunks {
		resp.ContentLength += int64(len(c))
	}
}

// response runs the filters and the log phase.
func (r *Result) response(ex *plugin.Exchange, chunks []string, insts []plugin.Instance) {
	for _, inst := range insts {
		if p, ok := inst.(plugin.HeaderFilterer); ok {
			if r.Err = p.HeaderFilter(ex); r.Err != nil {
				return
			}
		}
	}
	r.Status = ex.Response.Status
	for _, f := range ex.Response.Header.Fields() {
		r.Fields = append(r.Fields, string(f.Name)+": "+string(f.Value))
	}
	// The engine may learn of the end together with the last piece or after it; the empty last chunk is the harder case.
	var body bytes.Buffer
	for i := 0; i <= len(chunks); i++ {
		var chunk []byte
		last := i == len(chunks)
		if !last {
			chunk = []byte(chunks[i])
		}
		for _, inst := range insts {
			if p, ok := inst.(plugin.BodyFilterer); ok {
				if chunk, r.Err = p.BodyFilter(ex, chunk, last); r.Err != nil {
					return
				}
			}
		}
		body.Write(chunk)
	}
	r.Body = body.String()
	for _, inst := range insts {
		if p, ok := inst.(plugin.Logger); ok {
			p.Log(ex)
		}
	}
}
