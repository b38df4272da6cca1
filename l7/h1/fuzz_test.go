package h1_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/l7/h1"
	"github.com/sluice-gateway/sluice/l7/h1/h1test"
)

// sameOutcome fails unless cut, the outcome of feeding step bytes at a time, is
// whole, or has only not yet come to the refusal when the bytes ran out.
func sameOutcome(t *testing.T, whole, cut outcome, step int) {
	t.Helper()
	if cut.Status == 0 && cut.Left > 0 && whole.Status != 0 {
		cut.Status, cut.InBody, cut.Left = whole.Status, whole.InBody, whole.Left
	}
	if diff := cmp.Diff(whole, cut); diff != "" {
		t.Errorf("whole and %d bytes at a time differ (-whole +cut):\n%s", step, diff)
	}
}

func addSeeds(f *testing.F, cases []h1test.Case) {
	f.Helper()
	for _, c := range cases {
		if len(c.Raw) < 1024 {
			f.Add([]byte(c.Raw))
		}
	}
}

// FuzzRequest feeds client streams. What is forwarded must parse to itself.
func FuzzRequest(f *testing.F) {
	addSeeds(f, h1test.BadRequests)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 8<<10 {
			return
		}
		whole := runRequests(t, string(raw), max(len(raw), 1))
		sameOutcome(t, whole, runRequests(t, string(raw), 1), 1)
		sameOutcome(t, whole, runRequests(t, string(raw), 13), 13)
		for _, m := range whole.Messages {
			if m.Host == "" || strings.HasPrefix(m.Forwarded, "CONNECT ") || len(m.Forwarded) > 8<<10 ||
				strings.Count(m.Forwarded, "\r\n") > h1.DefaultFields {
				continue // only the caller could complete it, or our own framing field is one more than the limit
			}
			again := runRequests(t, m.Forwarded, len(m.Forwarded))
			if len(again.Messages) != 1 || again.Status != 0 || again.Left != 0 || again.Messages[0].Forwarded != m.Forwarded {
				t.Errorf("forwarded %q reads back as %+v", m.Forwarded, again)
			}
		}
	})
}

// FuzzResponse feeds an upstream's answer to GET and to HEAD.
func FuzzResponse(f *testing.F) {
	addSeeds(f, h1test.BadResponses)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 8<<10 {
			return
		}
		for _, method := range []string{"GET", "HEAD"} {
			whole := runResponse(t, string(raw), method, max(len(raw), 1))
			sameOutcome(t, whole, runResponse(t, string(raw), method, 1), 1)
			sameOutcome(t, whole, runResponse(t, string(raw), method, 13), 13)
			for _, m := range whole.Messages {
				if strings.Count(m.Forwarded, "\r\n") > h1.DefaultFields {
					continue // our own framing field may be one more than the limit
				}
				again := runResponse(t, m.Forwarded, method, len(m.Forwarded))
				if len(again.Messages) != 1 || again.Status != 0 || again.Left != 0 || again.Messages[0].Forwarded != m.Forwarded {
					t.Errorf("forwarded %q reads back as %+v", m.Forwarded, again)
				}
			}
		}
	})
}

// FuzzChunked feeds chunked bodies, cut at every multiple of step, and encodes
// what was decoded again.
func FuzzChunked(f *testing.F) {
	for _, c := range h1test.BadRequests {
		if _, body, ok := strings.Cut(c.Raw, "\r\n\r\n"); ok && strings.HasPrefix(c.Name, "chunk/") && len(body) < 1024 {
			f.Add([]byte(body), uint8(3))
		}
	}
	run := func(t *testing.T, in []byte, step int) (body []byte, n int, trailers string, err error) {
		var b h1.Body
		b.Reset(h1.BodyChunked, 0, nil)
		for have := 0; !b.Done() && err == nil && have < len(in); {
			have = min(have+step, len(in))
			for n < have && !b.Done() {
				data, m, e := b.Next(in[n:have])
				if e != nil {
					err = e
					break
				}
				if m <= 0 || m > have-n || len(data) > m || len(data) > 0 && !bytes.Contains(in[n:n+m], data) {
					t.Fatalf("Next(%q) = %q, %d", in[n:have], data, m)
				}
				body = append(body, data...)
				n += m
			}
		}
		if b.Done() && err != nil {
			t.Fatalf("done and %v", err)
		}
		for _, field := range b.Trailers() {
			trailers += string(field.Name) + ":" + string(field.Value) + "\n"
		}
		if b.Done() {
			again := h1.AppendLastChunk(h1.AppendChunk(nil, body), b.Trailers())
			var c h1.Body
			c.Reset(h1.BodyChunked, 0, nil)
			for rest := again; !c.Done(); {
				_, m, e := c.Next(rest)
				if e != nil || m == 0 {
					t.Fatalf("encoded again, %q: %v", again, e)
				}
				rest = rest[m:]
			}
		}
		return body, n, trailers, err
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		body, n, trailers, err := run(t, in, max(len(in), 1))
		cutBody, cutN, cutTrailers, cutErr := run(t, in, max(int(step), 1))
		if !bytes.Equal(body, cutBody) || trailers != cutTrailers || err != cutErr || err == nil && n != cutN {
			t.Errorf("whole: %q, %d, %q, %v; %d bytes at a time: %q, %d, %q, %v",
				body, n, trailers, err, step, cutBody, cutN, cutTrailers, cutErr)
		}
	})
}

// FuzzNormalizePath checks that a normalised path holds nothing that would
// change it again, and that escaping it and normalising that gives it back.
func FuzzNormalizePath(f *testing.F) {
	for _, c := range h1test.BadRequests {
		if strings.HasPrefix(c.Name, "path/") {
			if path := strings.Fields(c.Raw)[1]; len(path) < 256 {
				f.Add([]byte(path), false, false)
				f.Add([]byte(path), true, false)
				f.Add([]byte(path), false, true)
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, slash, servlet bool) {
		opt := h1.PathOptions{EncodedSlash: slash, Servlet: servlet}
		before := string(raw)
		norm, err := h1.NormalizePath(nil, raw, opt)
		if string(raw) != before {
			t.Fatalf("raw was changed to %q", raw)
		}
		if err != nil {
			return
		}
		text := string(norm)
		if len(norm) > len(raw) || norm[0] != '/' || strings.Contains(text, "//") || strings.Contains(text+"/", "/../") ||
			strings.Contains(text+"/", "/./") || strings.ContainsAny(text, "\\\x00\r\n\x7f") || strings.Contains(text, "/..;") {
			t.Errorf("NormalizePath(%q) = %q", raw, norm)
		}
		if servlet && strings.Contains(text, ";") {
			t.Errorf("NormalizePath(%q) = %q, with parameters", raw, norm)
		}
		escaped := h1.AppendEscapedPath(nil, norm)
		if slash {
			escaped = h1.AppendEscapedSlashPath(nil, norm)
		}
		again, err := h1.NormalizePath(nil, escaped, opt)
		if err != nil || string(again) != text {
			t.Errorf("NormalizePath(%q) = %q, escaped %q, again %q, %v", raw, norm, escaped, again, err)
		}
		var r h1.Request
		head := "GET " + string(escaped) + " HTTP/1.0\r\n\r\n"
		if err := r.Parse([]byte(head), nil); err != nil && len(escaped) <= h1.DefaultTargetBytes {
			t.Errorf("escaped path %q is no request target: %v", escaped, err)
		}
	})
}
