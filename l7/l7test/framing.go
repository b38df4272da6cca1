package l7test

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/h1/h1test"
	"github.com/sluice-gateway/sluice/l7/loop"
)

// Starter starts a plane: Start or something around it.
type Starter func(t testing.TB, o l7.Options, s *snapshot.Snapshot) *Gateway

// canary is a request that must not be served after a refusal.
const canary = "GET /canary HTTP/1.1\r\nHost: canary.test\r\n\r\n"

// Framing runs every malformed, ambiguous and borderline message of h1test through a whole gateway: it is refused with its status and the connection
// closed, or forwarded so that no two parsers can differ about it. Each message is sent whole and cut in two at several places, with a request behind it that must not be
// served after a refusal.
func Framing(t *testing.T, start Starter) {
	t.Run("requests", func(t *testing.T) { framingRequests(t, start) })
	t.Run("responses", func(t *testing.T) { framingResponses(t, start) })
}

// cuts are the places where a message is cut in two, -1 for nowhere.
func cuts(raw string) []int {
	all := []int{-1, 1, len(raw) / 2, len(raw) - 1}
	if i := strings.Index(raw, "\r\n\r\n"); i > 0 && i+4 < len(raw) {
		all = append(all, i+2, i+4)
	} else if i := strings.Index(raw, "\r\n"); i > 0 {
		all = append(all, i+1)
	}
	return all
}

func framingRequests(t *testing.T, start Starter) {
	NoLeaks(t)
	up := NewUpstreams(t, Echo)
	g := start(t, l7.Options{Loop: loop.Config{KeepaliveRequests: 1 << 40}}, Routes(To(up.Addr)))
	sentinel := Dial(t, g.Addr)
	for _, c := range h1test.BadRequests {
		t.Run(c.Name, func(t *testing.T) {
			for _, at := range cuts(c.Raw) {
				framingRequest(t, g, up, sentinel, c, at)
				if t.Failed() {
					t.Fatalf("cut at %d of %q", at, short(c.Raw))
				}
			}
		})
	}
	if n := len(h1test.BadRequests); n < 150 {
		t.Errorf("%d cases, want at least 150", n)
	}
}

func framingRequest(t *testing.T, g *Gateway, up *Upstream, sentinel *Conn, c h1test.Case, at int) {
	client := Dial(t, g.Addr)
	defer client.Close()
	client.t = t
	if at > 0 {
		client.Send(c.Raw[:at])
		g.Barrier()
		client.Send(c.Raw[at:] + canary)
	} else {
		client.Send(c.Raw + canary)
	}
	_ = client.CloseWrite()
	var got []int
	closing := false
	for {
		m, err := ReadResponse(client.R, "GET")
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("read response: %v", err)
		}
		if closing {
			t.Errorf("an answer follows one that closes: %q", m.Start)
		}
		got = append(got, m.Status())
		closing = m.Close()
	}
	// Whatever this connection could have sent upstream is there before this request.
	_ = sentinel.SetDeadline(client.deadline())
	sentinel.Send(Get("/sentinel"))
	sentinel.Want("GET", 200, "*")
	var seen []*Message
	for _, m := range up.Seen() {
		if m.Complete && m.Target() != "/sentinel" {
			seen = append(seen, m)
		}
	}
	var want []int
	for range c.Before {
		want = append(want, 200)
	}
	complete := c.Before
	if c.Want.Refused() {
		want = append(want, c.Want.Status)
	} else {
		want = append(want, 200)
		complete++
		if !lastCloses(c.Raw) {
			want = append(want, 200)
			complete++
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s(%s)", diff, c.Why)
	}
	if len(seen) != complete {
		t.Fatalf("%d complete requests upstream, want %d", len(seen), complete)
	}
	if c.Want.Refused() {
		return
	}
	m := seen[c.Before]
	if c.Body != "" && m.Body != c.Body {
		t.Errorf("body upstream is %q, want %q", m.Body, c.Body)
	}
	if c.Host != "" && m.Get("host") != c.Host {
		t.Errorf("host upstream is %q, want %q", m.Get("host"), c.Host)
	}
	for _, text := range c.Absent {
		if strings.Contains(strings.ToLower(m.Text()), text) {
			t.Errorf("upstream got %q in %q", text, m.Text())
		}
	}
}

// lastCloses tells whether the client itself ends the connection with the last message of raw.
func lastCloses(raw string) bool {
	low := strings.ToLower(raw)
	return strings.Contains(low, "connection: close") || strings.Contains(raw, " HTTP/1.0\r\n") && !strings.Contains(low, "connection: keep-alive")
}

func framingResponses(t *testing.T, start Starter) {
	NoLeaks(t)
	var raw string
	var at int
	var g *Gateway
	first, second := make(chan struct{}), make(chan struct{})
	up := NewUpstreams(t, func(u *Upstream, c *Conn) {
		if _, ok := c.Request(); !ok {
			return
		}
		if at > 0 {
			c.Send(raw[:at])
			first <- struct{}{}
			<-second
			c.Send(raw[at:])
		} else {
			c.Send(raw)
		}
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c.R)
	})
	g = start(t, l7.Options{Loop: loop.Config{KeepaliveRequests: 1 << 40}}, Routes(To(up.Addr)))
	for _, c := range h1test.BadResponses {
		t.Run(c.Name, func(t *testing.T) {
			for _, at = range cuts(c.Raw) {
				raw = c.Raw
				client := Dial(t, g.Addr)
				client.t = t
				client.Send(Get("/"))
				if at > 0 {
					<-first
					g.Barrier()
					second <- struct{}{}
				}
				m, err := ReadResponse(client.R, "GET")
				checkResponse(t, c, m, err)
				client.Close()
				up.Wait("the connection ends", func() bool { return up.Open() == 0 })
				if t.Failed() {
					t.Fatalf("cut at %d of %q", at, short(c.Raw))
				}
			}
		})
	}
}

func checkResponse(t *testing.T, c h1test.Case, m *Message, err error) {
	t.Helper()
	switch {
	case c.InBody:
		if err == nil && m.Status() == 502 || errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF && m.Start == "" {
			return
		}
		t.Errorf("got %q %q, %v; want a 502 or a cut response (%s)", m.Start, m.Body, err, c.Why)
	case c.Want.Refused():
		if err != nil || m.Status() != c.Want.Status {
			t.Errorf("got %q, %v; want %d (%s)", m.Start, err, c.Want.Status, c.Why)
		}
	case err != nil:
		t.Errorf("read response: %v after %q (%s)", err, m.Text(), c.Why)
	default:
		if m.Body != c.Body {
			t.Errorf("body is %q, want %q", m.Body, c.Body)
		}
		if want, err := readStatus(c.Raw); err == nil && m.Status() != want {
			t.Errorf("status is %d, want %d", m.Status(), want)
		}
		for _, text := range c.Absent {
			if strings.Contains(strings.ToLower(m.Text()), text) {
				t.Errorf("client got %q in %q", text, m.Text())
			}
		}
	}
}

func readStatus(raw string) (int, error) {
	s, err := line(bufio.NewReader(strings.NewReader(raw)))
	return (&Message{Start: s}).Status(), err
}
