package adminapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/store"
)

// brittle is a store whose writes fail when told to.
type brittle struct {
	store.Store
	mu    sync.Mutex
	err   error
	times int // how often; negative is always
	txns  int
}

func (b *brittle) set(err error, times int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err, b.times, b.txns = err, times, 0
}

func (b *brittle) Txn(ctx context.Context, ops []store.Op) (store.Rev, []store.Event, error) {
	b.mu.Lock()
	b.txns++
	err := b.err
	if b.times == 0 {
		err = nil
	}
	b.times--
	b.mu.Unlock()
	if err != nil {
		return 0, nil, err
	}
	return b.Store.Txn(ctx, ops)
}

// TestStoreErrors maps what a store says to a status; reads go on.
func TestStoreErrors(t *testing.T) {
	st := &brittle{Store: store.NewMemory()}
	f := newFixtureOn(t, st)
	f.must("PUT", "/routes/1", route(""))
	for _, tc := range []struct {
		name   string
		err    error
		times  int
		status int
		want   string
		txns   int
	}{
		{"no space", fmt.Errorf("append: %w", store.ErrNoSpace), -1, 507, "no space left", 1},
		{"read-only", store.ErrReadOnly, -1, 503, "takes no writes", 1},
		{"closed", store.ErrClosed, -1, 503, "takes no writes", 1},
		{"conflict, always", store.ErrConflict, -1, 409, "read it again", attempts},
		{"conflict, once", store.ErrConflict, 1, 200, `"key"`, 2},
		{"something else", errors.New("input/output error"), -1, 503, "input/output error", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st.set(tc.err, tc.times)
			status, body := f.send("PUT", "/routes/1", route(`,"desc":"`+tc.name+`"`))
			if status != tc.status || !strings.Contains(body, tc.want) {
				t.Errorf("%d %s, want %d %s", status, body, tc.status, tc.want)
			}
			if st.txns != tc.txns {
				t.Errorf("%d transactions, want %d", st.txns, tc.txns)
			}
			got := f.value("/routes/1")["desc"]
			if (got == tc.name) != (tc.status == 200) {
				t.Errorf("answered %d and the route says %v", status, got)
			}
			st.set(nil, 0)
		})
	}
	f.must("DELETE", "/routes/1", "")
}

// TestClientGone has clients that left before their turn: nothing is written.
func TestClientGone(t *testing.T) {
	st := &brittle{Store: store.NewMemory()}
	f := newFixtureOn(t, st)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w := f.record("PUT", "/routes/1", route(""), header("X-API-KEY", adminKey), func(r *http.Request) { *r = *r.WithContext(ctx) })
	if w.Code != 503 || st.txns != 0 {
		t.Errorf("%d %s, %d transactions", w.Code, w.Body, st.txns)
	}
	if status, _ := f.send("GET", "/routes/1", ""); status != 404 {
		t.Errorf("the route is there: %d", status)
	}
	if strings.Contains(f.logs.String(), "level=ERROR") {
		t.Errorf("logged as an error: %s", f.logs)
	}
}

// broken is a controller that panics.
type broken struct{}

func (broken) View() compile.View { panic("no view") }
func (broken) Update(context.Context, func(compile.View) ([]store.Op, error)) (store.Rev, []store.Event, error) {
	panic(http.ErrAbortHandler)
}

func TestPanic(t *testing.T) {
	f := newFixture(t)
	api := f.api.(*api)
	api.ctl = broken{}
	for range 2 {
		status, body := f.send("GET", "/routes/1", "")
		expect(t, status, body, 500, errorMsg("internal error"))
	}
	if !strings.Contains(f.logs.String(), "no view") {
		t.Errorf("the panic is not in the log: %s", f.logs)
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("recovered %v", p)
		}
	}()
	f.send("PUT", "/routes/1", route(""))
}

// TestLimits sends too much of everything.
func TestLimits(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.BodyBytes = 1000 })
	padded := func(n int) string {
		return route(`,"plugins":{"proxy-rewrite":{"x":"` + strings.Repeat("x", n) + `"}}`)
	}
	big, fits := padded(1000), padded(1000-len(padded(0)))
	unknownLength := func(r *http.Request) { r.ContentLength = -1 }
	for _, tc := range []struct {
		name, method, path, body string
		set                      func(*http.Request)
		status                   int
		want                     string
	}{
		{"a body that just fits", "PUT", "/routes/1", fits, nil, 201, ""},
		{"a body of known length", "PUT", "/routes/1", big, nil, 400, fmt.Sprintf("request size %d is greater than the maximum size 1000 allowed", len(big))},
		{"a chunked body", "PUT", "/routes/1", big, unknownLength, 400, "request size 1001 is greater than the maximum size 1000 allowed"},
		{"the body of a document", "POST", "/configs/validate", big, unknownLength, 400, "is greater than the maximum size"},
		{"the body of a schema check", "POST", "/schema/validate/routes", big, nil, 400, "is greater than the maximum size"},
		{"the body of a deletion", "DELETE", "/routes/1", big, nil, 400, "is greater than the maximum size"},
		{"depth", "PUT", "/routes/1", `{"vars":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, nil, 400, "nested deeper than 64 levels"},
		{"depth in a document", "POST", "/configs/validate", `{"routes":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, nil, 400, "nested deeper than 64 levels"},
		{"the echo", "PUT", "/routes/1", strings.Repeat("x", 1000), nil, 400, `"req_body":"xxx`},
		{"a long id", "GET", "/routes/" + strings.Repeat("x", 10000), "", nil, 404, "Key not found"},
		{"a long id to write", "PUT", "/routes/" + strings.Repeat("x", 10000), route(""), nil, 400, "error_msg"},
		{"an id of a store's separators", "PUT", "/routes/..%2f..%2fconsumers%2fjack", route(""), nil, 400, "error_msg"},
		{"a zero byte", "PUT", "/routes/a%00b", route(""), nil, 400, "error_msg"},
		{"UTF-8 that is none", "PUT", "/routes/1", "{\"desc\":\"\xff\"}", nil, 400, "invalid UTF-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := []func(*http.Request){}
			if tc.set != nil {
				set = append(set, tc.set)
			}
			status, body := f.send(tc.method, tc.path, tc.body, set...)
			if status != tc.status || !strings.Contains(body, tc.want) {
				t.Errorf("%d %.300s, want %d %s", status, body, tc.status, tc.want)
			}
		})
	}
	many := newFixture(t)
	var items []string
	for i := range 3000 {
		items = append(items, fmt.Sprintf(`{"id":"%d","uri":5}`, i))
	}
	status, body := many.send("POST", "/configs/validate", `{"routes":[`+strings.Join(items, ",")+`]}`)
	if n := strings.Count(body, `"resource_id"`); status != 400 || n != maxFindings {
		t.Errorf("%d with %d findings", status, n)
	}
	status, body = many.send("PUT", "/routes/1", strings.Repeat("é", 500000))
	if status != 400 || len(body) > 3*4096 {
		t.Errorf("%d, %d bytes of answer", status, len(body))
	}
}

// TestYAML validates documents in YAML, and some that have no form in JSON.
func TestYAML(t *testing.T) {
	f := newFixture(t)
	asYAML := header("Content-Type", "application/yaml; charset=utf-8")
	for _, tc := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"good", "routes:\n  - id: 1\n    uri: /a\n    upstream:\n      type: roundrobin\n      nodes:\n        \"127.0.0.1:80\": 1\n", 200, `{}`},
		{"bad", "routes:\n  - id: r\n    uri: 5\n", 400, `{"error_msg":"Configuration validation failed","errors":[{"resource_type":"routes","resource_id":"r","index":0,
			"error":"invalid configuration: property \"uri\" validation failed: wrong type: expected string, got number"}]}`},
		{"no mapping", "- a\n", 400, errorMsg("invalid request body: invalid yaml request body")},
		{"not YAML", "a: [", 400, errorMsg("invalid request body: invalid yaml request body")},
		{"keys that are no text", "routes:\n  - {? [a] : b}\n", 400, errorMsg("invalid request body: invalid yaml request body")},
		{"a number that JSON lacks", "routes:\n  - uri: .nan\n", 400, errorMsg("invalid request body: invalid yaml request body")},
		{"aliases of aliases", bomb(), 400, errorMsg("invalid request body: invalid yaml request body")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body := f.send("POST", "/configs/validate", tc.body, asYAML)
			expect(t, status, body, tc.status, tc.want)
		})
	}
}

// bomb is a short document that is a billion values long when its aliases are followed.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x]\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return b.String()
}

// TestServer sends what the server itself bounds.
func TestServer(t *testing.T) {
	f := newFixture(t)
	s := NewServer(f.api)
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 {
		t.Errorf("something is unbounded: %+v", s)
	}
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = s
	ts.Start()
	defer ts.Close()
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /apisix/admin/routes HTTP/1.1\r\nHost: a\r\nX-Big: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}
