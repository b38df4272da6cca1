package h1_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/l7/h1"
	"github.com/sluice-gateway/sluice/l7/h1/h1test"
)

// message is one message as a gateway takes it in and hands it on.
type message struct {
	Forwarded string // head and body as they would be written
	Path      string // normalised
	Host      string
	Body      string
}

// outcome is what a stream of bytes comes to.
type outcome struct {
	Messages []message
	Status   int  // of the refusal, 0 for none
	InBody   bool // the refusal came behind the head
	Left     int  // bytes of an incomplete head or body
}

// feed hands out more and more of raw, step bytes at a time.
type feed struct {
	raw  string
	all  []byte
	have int
	step int
}

func (f *feed) more() bool {
	if f.have >= len(f.raw) {
		return false
	}
	f.have = min(f.have+f.step, len(f.raw))
	return true
}

// window returns the bytes available at off, as a copy unless that would be
// slow, so that every call sees another buffer, as after a reallocation.
func (f *feed) window(off int) []byte {
	if f.all == nil {
		f.all = []byte(f.raw)
	}
	if len(f.raw) > 2048 {
		return f.all[off:f.have:f.have]
	}
	return append([]byte(nil), f.all[off:f.have]...)
}

func status(t testing.TB, err error) int {
	t.Helper()
	var refused *h1.Error
	if !errors.As(err, &refused) || refused.Status == 0 || refused.Reason == "" {
		t.Fatalf("error is %#v, want a filled *h1.Error", err)
	}
	return refused.Status
}

// readBody decodes the body at off and returns the offset behind it.
func readBody(t testing.TB, f *feed, off int, b *h1.Body) (body []byte, end int, complete bool, err error) {
	t.Helper()
	for !b.Done() {
		in := f.window(off)
		data, n, err := b.Next(in)
		if n < 0 || n > len(in) || len(data) > n {
			t.Fatalf("Next returned %d bytes of data and n %d for %d bytes", len(data), n, len(in))
		}
		if err != nil {
			return body, off, false, err
		}
		body = append(body, data...)
		off += n
		if n == len(in) && !b.Done() && !f.more() {
			return body, off, b.EOF() == nil, nil
		}
		if n == 0 && len(in) > 0 && !b.Done() {
			t.Fatalf("Next consumed nothing of %q", in)
		}
	}
	return body, off, true, nil
}

// appendFields writes the fields a gateway would forward, framing anew.
func appendFields(dst []byte, s *h1.FieldSet) []byte {
	for i, k := range s.Kinds {
		if k.Dropped() || k == h1.KindHost || k == h1.KindContentLength {
			continue
		}
		dst = h1.AppendField(dst, s.Fields[i].Name, s.Fields[i].Value)
	}
	return dst
}

// appendBody writes framing fields, the empty line and the body.
func appendBody(dst []byte, f h1.Framing, body []byte, trailers []h1.Field) []byte {
	switch f {
	case h1.BodyLength:
		dst = h1.AppendContentLength(dst, int64(len(body)))
		dst = append(dst, "\r\n"...)
		return append(dst, body...)
	case h1.BodyChunked, h1.BodyUntilClose:
		dst = h1.AppendField(dst, []byte("Transfer-Encoding"), []byte("chunked"))
		dst = append(dst, "\r\n"...)
		dst = h1.AppendChunk(dst, body)
		var allowed []h1.Field
		for _, field := range trailers {
			if h1.TrailerAllowed(field.Name) {
				allowed = append(allowed, field)
			}
		}
		return h1.AppendLastChunk(dst, allowed)
	}
	return append(dst, "\r\n"...)
}

// runRequests takes raw as a gateway would, step bytes at a time.
func runRequests(t testing.TB, raw string, step int) outcome {
	t.Helper()
	var (
		out outcome
		r   h1.Request
		b   h1.Body
	)
	f := &feed{raw: raw, step: step}
	f.more()
	for off := 0; off < len(raw); {
		r.Reset()
		err := r.Parse(f.window(off), nil)
		for err == h1.ErrIncomplete && f.more() {
			err = r.Parse(f.window(off), nil)
		}
		if err == h1.ErrIncomplete {
			out.Left = len(raw) - off
			return out
		}
		if err != nil {
			out.Status = status(t, err)
			return out
		}
		if r.HeadLen <= 0 || off+r.HeadLen > f.have {
			t.Fatalf("HeadLen is %d of %d bytes", r.HeadLen, f.have-off)
		}
		off += r.HeadLen

		var norm []byte
		upstream := append([]byte(nil), r.Target...)
		if r.Form == h1.FormOrigin || r.Form == h1.FormAbsolute && string(r.Path) != "*" {
			if norm, err = h1.NormalizePath(nil, r.Path, h1.PathOptions{}); err != nil {
				out.Status = status(t, err)
				return out
			}
			upstream = h1.AppendEscapedPath(nil, norm)
			if r.HasQuery {
				upstream = append(append(upstream, '?'), r.Query...)
			}
		} else if r.Form == h1.FormAbsolute {
			upstream = []byte("*")
		}

		b.Reset(r.Body, r.Length, nil)
		body, end, complete, err := readBody(t, f, off, &b)
		if err != nil {
			out.Status, out.InBody = status(t, err), true
			return out
		}
		if !complete {
			out.Left = len(raw) - end
			return out
		}
		off = end

		w := h1.AppendRequestLine(nil, r.Method, upstream, 1)
		if r.Host != nil {
			w = h1.AppendField(w, []byte("Host"), r.Host)
		}
		w = appendBody(appendFields(w, &r.FieldSet), r.Body, body, b.Trailers())
		out.Messages = append(out.Messages, message{
			Forwarded: string(w), Path: string(norm), Host: string(r.Host), Body: string(body),
		})
		if !r.KeepAlive {
			return out
		}
		if off >= f.have {
			f.more()
		}
	}
	return out
}

// runResponse takes raw as the answer to method.
func runResponse(t testing.TB, raw, method string, step int) outcome {
	t.Helper()
	var (
		out outcome
		r   h1.Response
		b   h1.Body
	)
	f := &feed{raw: raw, step: step}
	f.more()
	err := r.Parse(f.window(0), []byte(method), nil)
	for err == h1.ErrIncomplete && f.more() {
		err = r.Parse(f.window(0), []byte(method), nil)
	}
	if err == h1.ErrIncomplete {
		out.Left = len(raw)
		return out
	}
	if err != nil {
		out.Status = status(t, err)
		return out
	}
	if r.HeadLen <= 0 || r.HeadLen > f.have {
		t.Fatalf("HeadLen is %d of %d bytes", r.HeadLen, f.have)
	}
	b.Reset(r.Body, r.Length, nil)
	body, end, complete, err := readBody(t, f, r.HeadLen, &b)
	if err != nil {
		out.Status, out.InBody = status(t, err), true
		return out
	}
	if !complete {
		out.Left = len(raw) - end
		return out
	}
	w := h1.AppendStatusLine(nil, r.Status, r.Reason)
	w = appendBody(appendFields(w, &r.FieldSet), r.Body, body, b.Trailers())
	out.Messages = []message{{Forwarded: string(w), Body: string(body)}}
	return out
}

// check compares an outcome with a case of the shared tables.
func check(t *testing.T, c h1test.Case, got outcome) {
	t.Helper()
	want := c.Before + 1
	if c.Want.Refused() {
		want = c.Before
		if c.ByCaller {
			if len(got.Messages) != 1 || got.Status != 0 {
				t.Fatalf("got %d messages and status %d, want the caller to decide", len(got.Messages), got.Status)
			}
			return
		}
		if got.Status != c.Want.Status || got.InBody != c.InBody {
			t.Fatalf("status %d, in body %v, %d bytes left; want %d, %v (%s)",
				got.Status, got.InBody, got.Left, c.Want.Status, c.InBody, c.Why)
		}
	} else if got.Status != 0 {
		t.Fatalf("refused with %d, want it forwarded (%s)", got.Status, c.Why)
	}
	if len(got.Messages) != want {
		t.Fatalf("%d messages, %d bytes left; want %d messages", len(got.Messages), got.Left, want)
	}
	if c.Want.Refused() {
		return
	}
	m := got.Messages[c.Before]
	if c.Path != "" && m.Path != c.Path {
		t.Errorf("path is %q, want %q", m.Path, c.Path)
	}
	if c.Host != "" && m.Host != c.Host {
		t.Errorf("host is %q, want %q", m.Host, c.Host)
	}
	if c.Body != "" && m.Body != c.Body {
		t.Errorf("body is %q, want %q", m.Body, c.Body)
	}
	for _, text := range c.Absent {
		if strings.Contains(strings.ToLower(m.Forwarded), text) {
			t.Errorf("forwarded %q contains %q", m.Forwarded, text)
		}
	}
}

func TestBadRequests(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range h1test.BadRequests {
		if seen[c.Name] {
			t.Errorf("two cases are called %q", c.Name)
		}
		seen[c.Name] = true
		t.Run(c.Name, func(t *testing.T) {
			whole := runRequests(t, c.Raw, len(c.Raw))
			check(t, c, whole)
			for _, step := range []int{1, 2, 7} {
				if diff := cmp.Diff(whole, runRequests(t, c.Raw, step)); diff != "" {
					t.Errorf("whole and %d bytes at a time differ (-whole +cut):\n%s", step, diff)
				}
			}
			for _, m := range whole.Messages {
				again := runRequests(t, m.Forwarded, len(m.Forwarded))
				if strings.HasPrefix(m.Forwarded, "CONNECT") || m.Host == "" {
					continue // only the caller could complete it
				}
				if len(again.Messages) != 1 || again.Messages[0].Forwarded != m.Forwarded {
					t.Errorf("forwarded %q reads back as %+v", m.Forwarded, again)
				}
			}
		})
	}
	if len(seen) < 170 {
		t.Errorf("%d cases, want at least 170", len(seen))
	}
}

func TestBadResponses(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range h1test.BadResponses {
		if seen[c.Name] {
			t.Errorf("two cases are called %q", c.Name)
		}
		seen[c.Name] = true
		t.Run(c.Name, func(t *testing.T) {
			whole := runResponse(t, c.Raw, "GET", len(c.Raw))
			check(t, c, whole)
			for _, step := range []int{1, 2, 7} {
				if diff := cmp.Diff(whole, runResponse(t, c.Raw, "GET", step)); diff != "" {
					t.Errorf("whole and %d bytes at a time differ (-whole +cut):\n%s", step, diff)
				}
			}
			for _, m := range whole.Messages {
				again := runResponse(t, m.Forwarded, "GET", len(m.Forwarded))
				if len(again.Messages) != 1 || !bytes.Equal([]byte(again.Messages[0].Forwarded), []byte(m.Forwarded)) {
					t.Errorf("forwarded %q reads back as %+v", m.Forwarded, again)
				}
			}
		})
	}
}
