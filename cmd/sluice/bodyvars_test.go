package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestBodyVariables tests that plugins see the request body behind the variables that their configuration names, and that the body still reaches the upstream.
func TestBodyVariables(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s x=%s body=%s", r.URL, r.Header.Get("X-User"), b)
	}))
	defer up.Close()
	p := startProcess(t, t.TempDir(), "")
	node := strings.TrimPrefix(up.URL, "http://")
	post := func(path, form string) (int, string, http.Header) {
		t.Helper()
		client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := client.Post("http://"+p.addrs["http"]+path, "application/x-www-form-urlencoded", strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b), resp.Header
	}
	for name, plugins := range map[string]string{
		"count":    `"limit-count":{"count":1,"time_window":600,"rejected_code":429,"key":"post_arg_user"}`,
		"rules":    `"limit-count":{"rejected_code":429,"rules":[{"count":1,"time_window":600,"key":"${post_arg_user}"}]}`,
		"req":      `"limit-req":{"rate":0.001,"burst":0,"rejected_code":429,"key":"post_arg_user"}`,
		"rewrite":  `"proxy-rewrite":{"uri":"/of/$post_arg_user","headers":{"set":{"X-User":"$post_arg_user"}}}`,
		"redirect": `"redirect":{"uri":"/to/$post_arg_user","ret_code":303}`,
		"response": `"response-rewrite":{"headers":{"set":{"X-User":"$post_arg_user"}},"vars":[["post_arg_user","==","jack"]]}`,
	} {
		p.put("/routes/"+name, fmt.Sprintf(`{"uri":"/%s","plugins":{%s},"upstream":{"type":"roundrobin","nodes":{"%s":1}}}`, name, plugins, node))
	}
	for _, path := range []string{"/count", "/rules", "/req"} {
		for _, step := range []struct {
			form string
			want int
		}{{"user=jack", 200}, {"user=jack", 429}, {"user=jill", 200}, {"user=jill&a=b", 429}} {
			if status, body, _ := post(path, step.form); status != step.want || status == 200 && !strings.HasSuffix(body, "body="+step.form) {
				t.Errorf("%s %s: %d %s, want %d", path, step.form, status, body, step.want)
			}
		}
	}
	if _, body, _ := post("/rewrite", "user=jack"); body != "/of/jack x=jack body=user=jack" {
		t.Errorf("proxy-rewrite: %s", body)
	}
	if status, _, h := post("/redirect", "user=jack"); status != 303 || h.Get("Location") != "/to/jack" {
		t.Errorf("redirect: %d %v", status, h)
	}
	for form, want := range map[string]string{"user=jack": "jack", "user=jill": ""} {
		if _, _, h := post("/response", form); h.Get("X-User") != want {
			t.Errorf("response-rewrite %s: X-User %q, want %q", form, h.Get("X-User"), want)
		}
	}
}

// TestBodyVariablesOfConnections tests a key of limit-conn that is in the body.
func TestBodyVariablesOfConnections(t *testing.T) {
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-release
	}))
	defer up.Close()
	p := startProcess(t, t.TempDir(), "")
	p.put("/routes/conn", fmt.Sprintf(`{"uri":"/conn","plugins":{"limit-conn":{"conn":1,"burst":0,"default_conn_delay":0.1,"rejected_code":429,"key":"post_arg_user"}},"upstream":{"type":"roundrobin","nodes":{"%s":1}}}`,
		strings.TrimPrefix(up.URL, "http://")))
	post := func(user string) (int, error) {
		resp, err := http.Post("http://"+p.addrs["http"]+"/conn", "application/x-www-form-urlencoded", strings.NewReader("user="+user))
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		return resp.StatusCode, nil
	}
	type result struct {
		status int
		err    error
	}
	results := make(chan result, 2)
	for _, user := range []string{"jack", "jill"} {
		go func() {
			status, err := post(user)
			results <- result{status, err}
		}()
		select {
		case <-arrived: // another user's request is not in the way
		case r := <-results:
			t.Fatalf("the request of %s did not reach the upstream: %d, %v", user, r.status, r.err)
		}
	}
	if status, err := post("jack"); err != nil || status != 429 {
		t.Errorf("a second request of jack: %d, %v, want 429", status, err)
	}
	close(release)
	for range 2 {
		if r := <-results; r.err != nil || r.status != 200 {
			t.Errorf("%d, %v, want 200", r.status, r.err)
		}
	}
}

// TestBodyVariablesAreBounded tests that a body is buffered for variables up to sluice.l7.limits.buffered_body_bytes only, and only for routes whose plugins name one.
func TestBodyVariablesAreBounded(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}))
	defer up.Close()
	p := startProcess(t, t.TempDir(), "  l7: {limits: {buffered_body_bytes: 100}}\n")
	limited := map[string]string{
		"count":     `"limit-count":{"count":100,"time_window":600,"key":"post_arg_user"}`,
		"number":    `"limit-count":{"count":"${post_arg_n ?? 100}","time_window":600,"key":"remote_addr"}`,
		"req":       `"limit-req":{"rate":1000,"burst":1000,"key":"post_arg_user"}`,
		"conn":      `"limit-conn":{"conn":100,"burst":0,"default_conn_delay":0.1,"key":"post_arg_user"}`,
		"rewrite":   `"proxy-rewrite":{"headers":{"set":{"X-User":"$post_arg_user"}}}`,
		"response":  `"response-rewrite":{"headers":{"set":{"X-User":"$post_arg_user"}}}`,
		"condition": `"cors":{"_meta":{"filter":[["post_arg_user","==","jack"]]}}`,
	}
	for name, plugins := range limited {
		p.put("/routes/"+name, fmt.Sprintf(`{"uri":"/%s","plugins":{%s},"upstream":{"type":"roundrobin","nodes":{"%s":1}}}`, name, plugins, strings.TrimPrefix(up.URL, "http://")))
	}
	p.put("/routes/free", fmt.Sprintf(`{"uri":"/free","plugins":{"limit-count":{"count":100,"time_window":600}},"upstream":{"type":"roundrobin","nodes":{"%s":1}}}`, strings.TrimPrefix(up.URL, "http://")))
	post := func(t *testing.T, path string, size int, chunked bool) (int, string) {
		t.Helper()
		var body io.Reader = strings.NewReader("user=" + strings.Repeat("x", size-5))
		if chunked {
			body = io.MultiReader(body) // of no known length
		}
		resp, err := http.Post("http://"+p.addrs["http"]+path, "application/x-www-form-urlencoded", body)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, chunked := range []bool{false, true} {
		for name := range limited {
			t.Run(fmt.Sprint(name, " chunked ", chunked), func(t *testing.T) {
				if status, body := post(t, "/"+name, 100, chunked); status != 200 || body != "100" {
					t.Errorf("100 bytes: %d %s", status, body)
				}
				if status, body := post(t, "/"+name, 101, chunked); status != 413 {
					t.Errorf("101 bytes: %d %s, want 413", status, body)
				}
			})
		}
		if status, body := post(t, "/free", 5000, chunked); status != 200 || body != "5000" {
			t.Errorf("a route without such variables, chunked %v: %d %s", chunked, status, body)
		}
	}
}
