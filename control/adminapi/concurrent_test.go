package adminapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// together runs n functions at once and waits for all of them.
func together(n int, fn func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	wg.Wait()
}

// TestConcurrentPatch has 100 clients patch one route, each its own label: none is lost.
func TestConcurrentPatch(t *testing.T) {
	f := newFixture(t)
	f.must("PUT", "/routes/1", route(""))
	const n = 100
	together(n, func(i int) {
		path, body := "/routes/1", fmt.Sprintf(`{"labels":{"l%d":"v"}}`, i)
		if i%2 == 0 {
			path, body = fmt.Sprintf("/routes/1/labels/l%d", i), `"v"`
		}
		if status, answer := f.send("PATCH", path, body); status != 200 {
			t.Errorf("%d %s", status, answer)
		}
	})
	labels, _ := f.value("/routes/1")["labels"].(map[string]any)
	if len(labels) != n {
		t.Errorf("%d labels are left of %d", len(labels), n)
	}
}

// TestConcurrentWriters has 200 clients write, of whom some send what is refused.
func TestConcurrentWriters(t *testing.T) {
	f := newFixture(t)
	f.must("PUT", "/services/shared", `{`+up+`}`)
	const n = 200
	var mu sync.Mutex
	posted := map[string]bool{}
	together(n, func(i int) {
		id := fmt.Sprintf("/routes/%d", i)
		want := 201
		body := fmt.Sprintf(`{"uri":"/%d","service_id":"shared"}`, i)
		switch i % 4 {
		case 1:
			want, body = 400, `{"uri":5}`
		case 2:
			status, answer := f.send("POST", "/routes", body)
			var it struct{ Value struct{ ID string } }
			if json.Unmarshal([]byte(answer), &it) != nil || status != 201 {
				t.Errorf("POST: %d %s", status, answer)
			}
			mu.Lock()
			defer mu.Unlock()
			if posted[it.Value.ID] {
				t.Errorf("id %s was given out twice", it.Value.ID)
			}
			posted[it.Value.ID] = true
			return
		}
		status, answer := f.send("PUT", id, body)
		if status != want {
			t.Errorf("PUT %s: %d %s", id, status, answer)
		}
		if want == 201 {
			// A 2xx means that it is there for everybody.
			if status, answer := f.send("GET", id, ""); status != 200 {
				t.Errorf("GET %s after PUT: %d %s", id, status, answer)
			}
		}
	})
	if _, total := f.ids("/routes"); total != n*3/4 || len(posted) != n/4 {
		t.Errorf("%d routes, %d of them posted", total, len(posted))
	}
}

// TestConcurrentDelete has a service deleted while routes that refer to it come: whoever is first, no route is left without its service.
func TestConcurrentDelete(t *testing.T) {
	f := newFixture(t)
	for round := range 20 {
		f.must("PUT", "/services/s", `{`+up+`}`)
		together(8, func(i int) {
			if i == 0 {
				f.send("DELETE", "/services/s", "")
				return
			}
			f.send("PUT", fmt.Sprintf("/routes/%d", i), `{"uri":"/a","service_id":"s"}`)
		})
		_, routes := f.ids("/routes")
		status, _ := f.send("GET", "/services/s", "")
		if (status == 200) == (routes == 0) {
			t.Fatalf("round %d: the service is %d, routes %d", round, status, routes)
		}
		ids, _ := f.ids("/routes")
		for _, id := range ids {
			f.must("DELETE", "/routes/"+id, "")
		}
	}
}

// TestIfMatch tells writers apart who read the same object, which APISIX cannot.
func TestIfMatch(t *testing.T) {
	f := newFixture(t)
	f.must("PUT", "/routes/1", route(""))
	var it struct{ ModifiedIndex json.Number }
	decodeInto(t, f.must("GET", "/routes/1", ""), &it)
	at := it.ModifiedIndex.String()
	for _, tc := range []struct {
		name, method, path, body, match string
		status                          int
	}{
		{"another index", "PUT", "/routes/1", route(""), "1234", 412},
		{"no number", "PATCH", "/routes/1", `{"desc":"x"}`, "abc", 412},
		{"an object that is not there", "PUT", "/routes/2", route(""), at, 412},
		{"any object, none is there", "PUT", "/routes/2", route(""), "*", 412},
		{"delete of another index", "DELETE", "/routes/1", "", "1234", 412},
		{"any object", "PATCH", "/routes/1/desc", `"any"`, "*", 200},
		{"the index of before", "PUT", "/routes/1", route(""), at, 412},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body := f.send(tc.method, tc.path, tc.body, header("If-Match", tc.match))
			if status != tc.status {
				t.Errorf("%d %s, want %d", status, body, tc.status)
			}
		})
	}
	decodeInto(t, f.must("GET", "/routes/1", ""), &it)
	var wins, losses int
	var mu sync.Mutex
	together(20, func(i int) {
		status, _ := f.send("PATCH", "/routes/1", fmt.Sprintf(`{"desc":"%d"}`, i), header("If-Match", `"`+it.ModifiedIndex.String()+`"`))
		mu.Lock()
		defer mu.Unlock()
		switch status {
		case http.StatusOK:
			wins++
		case http.StatusPreconditionFailed:
			losses++
		}
	})
	if wins != 1 || losses != 19 {
		t.Errorf("%d writers won and %d lost", wins, losses)
	}
}
