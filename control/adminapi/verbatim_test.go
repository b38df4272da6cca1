package adminapi

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/store"
	"github.com/sluice-gateway/sluice/control/store/journal"
)

// numbers are numbers whose digits a careless reader changes.
var numbers = []string{"0", "-0", "1", "1.0", "1e2", "1E+2", "0.10", "-3.14159", "9007199254740993", "18446744073709551616", "1e400", "123456789012345678901234567890.5"}

var texts = []string{"", "a", "<script>&amp;</script>", "\u2028\u2029", "\u00e9\u4e2d\U0001f600", "\x01\x1f\x7f", `"\/`, "\t\n\r\b\f", "$env://NOTHING", "\ufffd"}

// randomJSON makes a document, with every sort of value.
func randomJSON(r *rand.Rand, depth int) any {
	n := 8
	if depth == 0 {
		n = 5
	}
	switch r.IntN(n) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return json.Number(numbers[r.IntN(len(numbers))])
	case 3, 4:
		return texts[r.IntN(len(texts))] + fmt.Sprint(r.IntN(10))
	case 5:
		l := make([]any, r.IntN(4))
		for i := range l {
			l[i] = randomJSON(r, depth-1)
		}
		return l
	}
	m := map[string]any{}
	for range r.IntN(5) {
		m["k"+texts[r.IntN(len(texts))]+fmt.Sprint(r.IntN(100))] = randomJSON(r, depth-1)
	}
	return m
}

func randomRoute(r *rand.Rand) map[string]any {
	extra, _ := randomJSON(r, 0).(map[string]any)
	if extra == nil {
		extra = map[string]any{}
	}
	for range 1 + r.IntN(5) {
		extra["x"+fmt.Sprint(r.IntN(1000))] = randomJSON(r, 6)
	}
	route := map[string]any{
		"uris":    []any{"/b", "/a", "/c"},
		"desc":    texts[r.IntN(len(texts))],
		"plugins": map[string]any{"proxy-rewrite": extra, "cors": map[string]any{}},
		"labels":  map[string]any{"a": "b", "c": "d"},
		"upstream": map[string]any{"type": "roundrobin", "nodes": []any{
			map[string]any{"host": "b.test", "port": json.Number("80"), "weight": json.Number("1")},
			map[string]any{"host": "a.test", "port": json.Number("81"), "weight": json.Number("0")}}},
	}
	if r.IntN(2) == 0 {
		route["upstream"].(map[string]any)["timeout"] = map[string]any{"connect": json.Number("0.50"), "send": json.Number("6"), "read": json.Number("6.0")}
		route["upstream"].(map[string]any)["nodes"] = map[string]any{"127.0.0.1:80": json.Number("1"), "[::1]:81": json.Number("2")}
	}
	if r.IntN(2) == 0 {
		route["priority"] = json.Number("10")
	}
	return route
}

// TestVerbatim sends random routes and reads back exactly what was sent, with id and timestamps: no defaults, no other digits, no other
// order of arrays. Without it "adc diff" after "adc sync" is never empty.
func TestVerbatim(t *testing.T) {
	f := newFixture(t)
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		sent := randomRoute(r)
		body := string(encode(sent))
		var written struct{ Value map[string]any }
		decodeInto(t, f.must("PUT", "/routes/1", body), &written)
		got := f.value("/routes/1")
		sent["id"], sent["create_time"], sent["update_time"] = "1", got["create_time"], got["update_time"]
		for what, v := range map[string]map[string]any{"GET": got, "the answer to PUT": written.Value} {
			if diff := cmp.Diff(sent, v); diff != "" {
				t.Fatalf("seed %d: %s differs (-sent +got)\n%s", seed, what, diff)
			}
		}
		// What was read can be sent again, without the timestamps, and nothing changes.
		delete(got, "create_time")
		delete(got, "update_time")
		f.must("PUT", "/routes/1", string(encode(got)))
		again := f.value("/routes/1")
		sent["update_time"] = again["update_time"]
		if diff := cmp.Diff(sent, again); diff != "" {
			t.Fatalf("seed %d: the second time differs (-sent +got)\n%s", seed, diff)
		}
	}
}

// TestVerbatimEncryption does the same with fields that are encrypted at rest.
func TestVerbatimEncryption(t *testing.T) {
	f := newFixture(t)
	for i, secret := range append(texts, strings.Repeat("x", 15), strings.Repeat("x", 16), strings.Repeat("x", 4000)) {
		conf := map[string]any{"username": fmt.Sprint("u", i), "password": secret}
		f.must("PUT", "/consumers", string(encode(map[string]any{"username": "jack", "plugins": map[string]any{"basic-auth": conf}})))
		got := f.value("/consumers/jack")["plugins"].(map[string]any)["basic-auth"]
		if diff := cmp.Diff(map[string]any(conf), got); diff != "" {
			t.Errorf("%q (-sent +got)\n%s", secret, diff)
		}
	}
}

// TestJournal makes changes on a journal, and finds them after it was opened again.
func TestJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	var before, list string
	t.Run("write", func(t *testing.T) {
		f := newFixtureOn(t, open(t, dir))
		f.must("PUT", "/services/s", `{`+up+`}`)
		f.must("PUT", "/routes/1", route(`,"service_id":"s"`))
		f.must("PATCH", "/routes/1", `{"desc":"patched"}`)
		f.must("POST", "/routes", route(``))
		f.must("PUT", "/consumers", `{"username":"jack","plugins":{"key-auth":{"key":"k"}}}`)
		f.must("PUT", "/consumers/jack/credentials/c", `{"plugins":{"key-auth":{"key":"l"}}}`)
		f.must("PUT", "/routes/2", route(``))
		f.must("DELETE", "/routes/2", "")
		before, list = f.must("GET", "/routes", ""), f.must("GET", "/consumers/jack/credentials", "")
	})
	t.Run("read again", func(t *testing.T) {
		f := newFixtureOn(t, open(t, dir))
		if got := f.must("GET", "/routes", ""); got != before {
			t.Errorf("routes are %s, were %s", got, before)
		}
		if got := f.must("GET", "/consumers/jack/credentials", ""); got != list {
			t.Errorf("credentials are %s, were %s", got, list)
		}
		f.must("POST", "/routes", route(``))
		if _, total := f.ids("/routes"); total != 3 {
			t.Errorf("%d routes", total)
		}
		status, body := f.send("DELETE", "/services/s", "")
		expect(t, status, body, 400, errorMsg("can not delete this service directly, route [1] is still using it now"))
	})
}

func open(t *testing.T, dir string) store.Store {
	st, err := journal.Open(dir, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return st
}
