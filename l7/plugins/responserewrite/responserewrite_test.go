package responserewrite

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/plugintest"
)

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

// deflated compresses s, in the frame of zlib or without it.
func deflated(s string, framed bool) string {
	var b strings.Builder
	var w io.WriteCloser
	if framed {
		w = zlib.NewWriter(&b)
	} else {
		w, _ = flate.NewWriter(&b, flate.DefaultCompression)
	}
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

// respond takes a response with that body, in the given chunks, through the filters.
func respond(t *testing.T, conf string, status int, encoding string, chunks ...string) (ex *plugin.Exchange, body string) {
	t.Helper()
	inst := plugintest.New(t, name, conf)
	ex = plugintest.Request("GET", "/hello")
	ex.Response.Status, ex.Response.ContentLength = status, 100
	ex.Response.Header.SetString("X-Up", "1")
	ex.Response.Header.SetString("ETag", "x")
	if encoding != "" {
		ex.Response.Header.SetString("Content-Encoding", encoding)
	}
	if err := inst.(plugin.HeaderFilterer).HeaderFilter(ex); err != nil {
		t.Fatal(err)
	}
	for i := 0; i <= len(chunks); i++ {
		var in []byte
		if i < len(chunks) {
			in = []byte(chunks[i])
		}
		out, err := inst.(plugin.BodyFilterer).BodyFilter(ex, in, i == len(chunks))
		if err != nil {
			t.Fatal(err)
		}
		body += string(out)
	}
	return ex, body
}

// TestBody follows apisix/plugins/response-rewrite.lua; the cases are our own.
func TestBody(t *testing.T) {
	for _, tc := range []struct {
		name, conf, encoding string
		chunks               []string
		want                 string
		changed              bool
	}{
		{"untouched", `{"status_code":200}`, "", []string{"a", "b"}, "ab", false},
		{"body", `{"body":"new body\n"}`, "", []string{"a", "b"}, "new body\n", true},
		{"empty body", `{"body":""}`, "", []string{"a"}, "", true},
		{"base64", `{"body":"SGVsbG8K","body_base64":true}`, "", []string{"a"}, "Hello\n", true},
		{"filter once", `{"filters":[{"regex":"hello","replace":"HELLO"}]}`, "", []string{"hel", "lo hello"}, "HELLO hello", true},
		{"filter global", `{"filters":[{"regex":"hello","scope":"global","replace":"[$0]"}]}`, "", []string{"hello hello"}, "[hello] [hello]", true},
		{"options", `{"filters":[{"regex":"HELLO","replace":"x","options":"i"}]}`, "", []string{"hello"}, "x", true},
		{"two filters", `{"filters":[{"regex":"a","replace":"b"},{"regex":"b","replace":"c"}]}`, "", []string{"a"}, "c", true},
		{"gzip", `{"filters":[{"regex":"hello","replace":"bye"}]}`, "gzip", []string{zipped("hello world")}, "bye world", true},
		{"deflate", `{"filters":[{"regex":"hello","replace":"bye"}]}`, "deflate", []string{deflated("hello world", true)}, "bye world", true},
		{"deflate without its frame", `{"filters":[{"regex":"hello","replace":"bye"}]}`, "deflate", []string{deflated("hello world", false)}, "bye world", true},
		{"unknown encoding passes", `{"filters":[{"regex":"hello","replace":"bye"}]}`, "br", []string{"hello"}, "hello", false},
		{"too large is truncated", `{"max_resp_body_size":3,"filters":[{"regex":"a","replace":"b"}]}`, "", []string{"aaaa", "a"}, "baa", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ex, body := respond(t, tc.conf, 200, tc.encoding, tc.chunks...)
			if body != tc.want {
				t.Errorf("got %q, want %q", body, tc.want)
			}
			if changed := ex.Response.ContentLength < 0 && !ex.Response.Header.Has("ETag") && !ex.Response.Header.Has("Content-Encoding"); changed != tc.changed {
				t.Errorf("length %d, fields %q", ex.Response.ContentLength, ex.Response.Header.Fields())
			}
		})
	}
}

func TestHead(t *testing.T) {
	ex, _ := respond(t, `{"status_code":403,"headers":{"set":{"X-A":"$status","X-B":1},"add":["Set-Cookie: a=b; Max-Age=1"],"remove":["X-Up"]},"vars":[["status","==",500]]}`, 500, "")
	h := &ex.Response.Header
	if ex.Response.Status != 403 || string(h.Get("X-A")) != "403" || string(h.Get("X-B")) != "1" || string(h.Get("Set-Cookie")) != "a=b; Max-Age=1" || h.Has("X-Up") {
		t.Errorf("got %d %q", ex.Response.Status, h.Fields())
	}
	ex, body := respond(t, `{"status_code":403,"body":"x","vars":[["status","==",500]]}`, 200, "", "ok")
	if ex.Response.Status != 200 || body != "ok" {
		t.Errorf("a response that does not match is changed: %d %q", ex.Response.Status, body)
	}
	ex, _ = respond(t, `{"headers":{"X-Server-id":3,"X-Flat":"b"}}`, 200, "")
	if string(ex.Response.Header.Get("X-Server-id")) != "3" || string(ex.Response.Header.Get("X-Flat")) != "b" {
		t.Errorf("flat form: %q", ex.Response.Header.Fields())
	}
}

// TestEmptyValue tests that a field that is set to nothing is not sent: APISIX, t/plugin/response-rewrite.t TEST 4 and 5.
func TestEmptyValue(t *testing.T) {
	for _, conf := range []string{`{"headers":{"X-Up":""}}`, `{"headers":{"set":{"X-Up":""}}}`, `{"headers":{"set":{"X-Up":"$arg_absent"}}}`} {
		if ex, _ := respond(t, conf, 200, ""); ex.Response.Header.Has("X-Up") {
			t.Errorf("%s: %q", conf, ex.Response.Header.Fields())
		}
	}
}

// TestRefusals tests the texts that APISIX's tests ask for.
func TestRefusals(t *testing.T) {
	for _, tc := range []struct{ from, conf, want string }{
		{"t/plugin/response-rewrite.t TEST 10", `{"status_code":200,"headers":{"":2}}`, "invalid field length in header"},
		{"t/plugin/response-rewrite.t TEST 11", `{"status_code":200,"headers":{"X-Name":{}}}`, "invalid type as header value"},
		{"t/plugin/response-rewrite.t TEST 14", `{"body":"1","body_base64":true}`, "invalid base64 content"},
		{"t/plugin/response-rewrite.t TEST 17", `{"vars":[{}]}`, "failed to validate the 'vars' expression: rule too short"},
		{"t/plugin/response-rewrite.t TEST 21", `{"body":"","body_base64":true}`, "invalid base64 content"},
		{"t/plugin/response-rewrite.t TEST 22", `{"body_base64":true}`, "invalid base64 content"},
		{"t/plugin/response-rewrite2.t TEST 6", `{"filters":[{"regex":"hello","replace":"HELLO","options":"h"}]}`, `regex "hello" validation failed: unknown flag "h" (flags "h")`},
	} {
		t.Run(tc.from, func(t *testing.T) {
			if _, err := plugintest.Try(name, tc.conf, nil); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestBomb(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(make([]byte, 64<<20))
	_ = w.Close()
	if out, err := decode(b.Bytes(), "gzip", 1<<30); err == nil {
		t.Errorf("%d bytes became %d", b.Len(), len(out))
	}
}

func TestRefusedConfigurations(t *testing.T) {
	for _, conf := range []string{`{"status_code":599}`, `{"body":"a","filters":[{"regex":"a","replace":"b"}]}`, `{"body":"%","body_base64":true}`, `{"body_base64":true}`,
		`{"filters":[{"regex":"(","replace":"b"}]}`, `{"vars":[["a","nope","b"]]}`, `{"filters":[]}`} {
		if _, err := plugintest.Try(name, conf, nil); err == nil {
			t.Errorf("%s is accepted", conf)
		}
	}
}
