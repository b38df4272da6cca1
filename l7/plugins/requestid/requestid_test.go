package requestid

import (
	"encoding/hex"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

// once runs one request and returns the identifier that the upstream got and the result.
func once(t *testing.T, inst plugin.Instance, header string, up plugintest.Upstream, fields ...string) (string, *plugintest.Result) {
	t.Helper()
	ex := plugintest.Request("GET", "/opentracing", fields...)
	r := plugintest.Run(ex, up, inst)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	id := string(ex.Request.Header.Get(header))
	for _, v := range []string{"request_id", "apisix_request_id"} {
		if got, _ := plugin.CompileVar(v)(ex); string(got) != id {
			t.Fatalf("%s is %q, want %q", v, got, id)
		}
	}
	return id, r
}

func TestFormats(t *testing.T) {
	const uuid = `^[0-9a-f]{8}-[0-9a-f]{4}-V[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`
	for _, c := range []struct{ name, conf, pattern string }{
		{"t/plugin/request-id.t TEST 23: default generates uuid v4", `{}`, strings.Replace(uuid, "V", "4", 1)},
		{"t/plugin/request-id.t TEST 20: uuid v7 has correct format", `{"algorithm":"uuidv7"}`, strings.Replace(uuid, "V", "7", 1)},
		{"t/plugin/request-id.t TEST 28: nanoid ids are unique and well formed", `{"algorithm":"nanoid"}`, `^[A-Za-z0-9_-]{21}$`},
		{"t/plugin/request-id2.t TEST 4: range_id", `{"algorithm":"range_id"}`, `^[a-zA-Z0-9]{16}$`},
		{"t/plugin/request-id2.t TEST 1: range_id with char_set", `{"algorithm":"range_id","range_id":{"char_set":"abcdefg","length":20}}`, `^[a-g]{20}$`},
		{"range_id with char_set only", `{"algorithm":"range_id","range_id":{"char_set":"abcdefg"}}`, `^[a-g]{16}$`},
		{"range_id with length only", `{"algorithm":"range_id","range_id":{"length":30}}`, `^[a-zA-Z0-9]{30}$`},
		{"t/plugin/request-id3.t TEST 3: ksuid", `{"algorithm":"ksuid"}`, `^[a-zA-Z0-9]{27}$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			inst := plugintest.New(t, name, c.conf)
			form := regexp.MustCompile(c.pattern)
			seen := map[string]bool{}
			for range 200 {
				id, r := once(t, inst, "X-Request-Id", plugintest.Upstream{})
				if !form.MatchString(id) {
					t.Fatalf("%q is not %s", id, c.pattern)
				}
				if seen[id] {
					t.Fatalf("%q came twice", id)
				}
				seen[id] = true
				if got := r.Header("X-Request-Id"); got != id {
					t.Fatalf("the response has %q, the request %q", got, id)
				}
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name, conf, header string
		up                 []string
		fields             []string
		id, response       string // "*" stands for some identifier
	}{
		{name: "t/plugin/request-id.t TEST 4: default header name", conf: `{}`, header: "X-Request-Id", id: "*", response: "*"},
		{name: "t/plugin/request-id.t TEST 7: custom header name", conf: `{"header_name":"Custom-Header-Name"}`, header: "Custom-Header-Name", id: "*", response: "*"},
		{name: "t/plugin/request-id.t TEST 9: not in the response header", conf: `{"include_in_response":false}`, header: "X-Request-Id", id: "*", response: "-"},
		{name: "t/plugin/request-id.t TEST 14: echo back the client's header if given", conf: `{"include_in_response":true}`, header: "X-Request-Id",
			fields: []string{"X-Request-ID: 123"}, id: "123", response: "123"},
		{name: "t/plugin/request-id.t TEST 16: empty in request", conf: `{}`, header: "X-Request-Id", fields: []string{"X-Request-Id:"}, id: "*", response: "*"},
		{name: "t/plugin/request-id3.t TEST 5: the id of the client is the variable", conf: `{"header_name":"X-Request-Id"}`, header: "X-Request-Id",
			fields: []string{"X-Request-Id: abctesting"}, id: "abctesting", response: "abctesting"},
		{name: "the upstream's own id stays", conf: `{}`, header: "X-Request-Id", up: []string{"X-Request-Id: theirs"}, id: "*", response: "theirs"},
		{name: "an empty id of the upstream does not", conf: `{}`, header: "X-Request-Id", up: []string{"X-Request-Id:"},
			fields: []string{"X-Request-Id: a"}, id: "a", response: "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, r := once(t, plugintest.New(t, name, c.conf), c.header, plugintest.Upstream{Fields: c.up}, c.fields...)
			if c.id == "*" && len(id) != uuidLen || c.id != "*" && id != c.id {
				t.Errorf("got id %q, want %s", id, c.id)
			}
			want := c.response
			if want == "*" {
				want = id
			}
			if got := r.Header(c.header); got != want {
				t.Errorf("the response has %q, want %q", got, want)
			}
		})
	}
}

// t/plugin/request-id.t TEST 11: a global rule and a route with different header names have different identifiers.
func TestTwoInstances(t *testing.T) {
	ex := plugintest.Request("GET", "/")
	r := plugintest.Run(ex, plugintest.Upstream{}, plugintest.New(t, name, `{"header_name":"Custom-Header-Name"}`), plugintest.New(t, name, `{}`))
	a, b := r.Header("Custom-Header-Name"), r.Header("X-Request-Id")
	if len(a) != uuidLen || len(b) != uuidLen || a == b {
		t.Fatalf("got %q and %q", a, b)
	}
	if v, _ := plugin.CompileVar("apisix_request_id")(ex); string(v) != b {
		t.Fatalf("the variable is %q, want that of the route, %q", v, b)
	}
}

// When something replied before the rewrite phase of the plugin, there is no identifier to add.
func TestWithoutRewrite(t *testing.T) {
	inst := plugintest.New(t, name, `{}`).(*tagger)
	ex := plugintest.Request("GET", "/")
	if err := inst.HeaderFilter(ex); err != nil || ex.Response.Header.Len() != 0 {
		t.Fatalf("got %v, %v", ex.Response.Header.Fields(), err)
	}
}

func TestConfiguration(t *testing.T) {
	for _, c := range []struct {
		name, conf string
		ok         bool
	}{
		{"t/plugin/request-id.t TEST 1: sanity", `{}`, true},
		{"t/plugin/request-id.t TEST 2: wrong type", `{"include_in_response":"bad_type"}`, false},
		{"t/plugin/request-id.t TEST 12: wrong algorithm type", `{"algorithm":"bad_algorithm"}`, false},
		{"t/plugin/request-id.t TEST 17: uuidv7 schema valid", `{"algorithm":"uuidv7"}`, true},
		{"t/plugin/request-id.t TEST 18: invalid value rejected", `{"algorithm":"uuidv5"}`, false},
		{"range_id too short", `{"range_id":{"length":5}}`, false},
		{"range_id too long", `{"range_id":{"length":1025}}`, false},
		{"char_set too short", `{"range_id":{"char_set":"abcde"}}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := plugintest.Try(name, c.conf, nil); (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func uuid7(ms, seq uint64) string {
	b := make([]byte, uuidLen)
	putUUID7(b, ms, seq)
	return string(b)
}

func TestUUID7Clock(t *testing.T) {
	at := time.UnixMilli(1000100)
	t.Run("t/plugin/request-id.t TEST 22: lexicographically monotone", func(t *testing.T) {
		var c clock7
		last := ""
		for i := range 1000 {
			id := uuid7(c.next(at.Add(time.Duration(i/100) * time.Millisecond)))
			if id <= last {
				t.Fatalf("%s came after %s", id, last)
			}
			last = id
		}
	})
	t.Run("t/plugin/request-id.t TEST 24: 48-bit timestamp encoded", func(t *testing.T) {
		now := time.Now()
		var c clock7
		id := strings.ReplaceAll(uuid7(c.next(now)), "-", "")
		b, err := hex.DecodeString(id[:12])
		if err != nil || new(big.Int).SetBytes(b).Int64() != now.UnixMilli() {
			t.Fatalf("got %s for %d, %v", id, now.UnixMilli(), err)
		}
	})
	t.Run("t/plugin/request-id.t TEST 26: overflow goes on with the next millisecond", func(t *testing.T) {
		var c clock7
		c.last.Store(1000100<<seqBits | 0x3ffff)
		if ms, seq := c.next(at); ms != 1000101 || seq != 0 {
			t.Fatalf("got %d, %d", ms, seq)
		}
	})
	t.Run("t/plugin/request-id.t TEST 27: monotone when the clock moves backwards", func(t *testing.T) {
		var c clock7
		c.last.Store(1000100<<seqBits | 4)
		if ms, seq := c.next(at.Add(-time.Millisecond)); ms != 1000100 || seq != 5 {
			t.Fatalf("got %d, %d", ms, seq)
		}
	})
	t.Run("counter in its place", func(t *testing.T) {
		id := uuid7(0x0123456789ab, 0x3ffff)
		if !strings.HasPrefix(id, "01234567-89ab-7fff-bf") {
			t.Fatalf("got %s", id)
		}
	})
}

// The number that a KSUID writes in base 62 is its seconds followed by its payload.
func TestKSUID(t *testing.T) {
	at := time.Unix(1700000000, 0)
	id, payload := make([]byte, ksuidLen), make([]byte, 16)
	putKSUID(id, payload, at)
	n := new(big.Int)
	for _, c := range id {
		n.Mul(n, big.NewInt(62)).Add(n, big.NewInt(int64(strings.IndexByte(base62, c))))
	}
	want := new(big.Int).SetBytes(append([]byte{0x11, 0xe1, 0xa3, 0x00}, payload...)) // 1700000000 - 1400000000
	if n.Cmp(want) != 0 {
		t.Fatalf("%s is %x, want %x", id, n, want)
	}
}

func TestAllocations(t *testing.T) {
	for _, algorithm := range []string{"uuid", "uuidv7", "nanoid", "range_id", "ksuid"} {
		t.Run(algorithm, func(t *testing.T) {
			inst := plugintest.New(t, name, `{"algorithm":"`+algorithm+`"}`).(*tagger)
			ex := plugintest.Request("GET", "/")
			reqBuf, respBuf := make([]plugin.Field, 0, 8), make([]plugin.Field, 0, 8)
			if n := testing.AllocsPerRun(100, func() {
				ex.Reset()
				ex.WallStart = time.Unix(1700000000, 0)
				ex.Request.Header.Reset(reqBuf[:0])
				ex.Response.Header.Reset(respBuf[:0])
				if _, err := inst.Rewrite(ex); err != nil {
					t.Fatal(err)
				}
				if err := inst.HeaderFilter(ex); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Fatalf("%v allocations", n)
			}
		})
	}
}

func BenchmarkRewrite(b *testing.B) {
	for _, algorithm := range []string{"uuid", "uuidv7", "nanoid", "range_id", "ksuid"} {
		b.Run(algorithm, func(b *testing.B) {
			inst := plugintest.New(b, name, `{"algorithm":"`+algorithm+`"}`).(*tagger)
			ex := plugintest.Request("GET", "/")
			b.ReportAllocs()
			for b.Loop() {
				ex.Reset()
				if _, err := inst.Rewrite(ex); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
