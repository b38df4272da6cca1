package userspace

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// clientHello is what a client sends first.
func clientHello(t testing.TB, conf *tls.Config) []byte {
	t.Helper()
	a, b := net.Pipe()
	go func() {
		_ = tls.Client(a, conf).Handshake()
		a.Close()
	}()
	defer b.Close()
	head := make([]byte, 5)
	if _, err := io.ReadFull(b, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(b, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// fragment spreads the handshake message over records of n bytes.
func fragment(hello []byte, n int) []byte {
	var out []byte
	for body := hello[5:]; len(body) > 0; {
		part := body[:min(n, len(body))]
		body = body[len(part):]
		out = append(out, 22, 3, 1, byte(len(part)>>8), byte(len(part)))
		out = append(out, part...)
	}
	return out
}

func TestServerName(t *testing.T) {
	hello := clientHello(t, &tls.Config{ServerName: "a.example.com"})
	old := clientHello(t, &tls.Config{ServerName: "b.example.com", MaxVersion: tls.VersionTLS12})
	for _, tt := range []struct {
		name string
		in   []byte
		want string
		err  error
	}{
		{"TLS 1.3", hello, "a.example.com", nil},
		{"TLS 1.2", old, "b.example.com", nil},
		{"no name", clientHello(t, &tls.Config{InsecureSkipVerify: true}), "", nil},
		{"with data behind it", append(bytes.Clone(hello), "more"...), "a.example.com", nil},
		{"in two records", fragment(hello, len(hello)/2), "a.example.com", nil},
		{"in many records", fragment(hello, 7), "a.example.com", nil},
		{"a name with a line break", clientHello(t, &tls.Config{ServerName: "a\r\nb"}), "", errBadServerName},
		{"a name in Chinese", clientHello(t, &tls.Config{ServerName: "a.例"}), "", errBadServerName},
		{"a name with _", clientHello(t, &tls.Config{ServerName: "_a.test"}), "_a.test", nil},
		{"nothing", nil, "", errHelloIncomplete},
		{"plain text", []byte("GET / HTTP/1.1\r\n"), "", errNotTLS},
		{"an alert", []byte{21, 3, 1, 0, 2, 1, 0}, "", errNotTLS},
		{"another message", []byte{22, 3, 1, 0, 4, 2, 0, 0, 0}, "", errNotTLS},
		{"an empty record", []byte{22, 3, 1, 0, 0}, "", errNotTLS},
		{"a long one", append([]byte{22, 3, 1, 0x40, 0, 1, 1, 0, 0}, make([]byte, 0x4000-4)...), "", errHelloTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := serverName(tt.in)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %q, %v, want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
	t.Run("every part of one", func(t *testing.T) {
		for _, whole := range [][]byte{hello, fragment(hello, 100)} {
			for n := range whole {
				if _, err := serverName(whole[:n]); !errors.Is(err, errHelloIncomplete) {
					t.Fatalf("the first %d of %d bytes: %v", n, len(whole), err)
				}
			}
		}
	})
}

func FuzzServerName(f *testing.F) {
	hello := clientHello(f, &tls.Config{ServerName: "a.example.com"})
	f.Add(hello)
	f.Add(fragment(hello, 50))
	f.Add(clientHello(f, &tls.Config{ServerName: "b", MaxVersion: tls.VersionTLS12}))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		name, err := serverName(p)
		if err != nil {
			return
		}
		if strings.ContainsAny(name, "\x00 \r\n") {
			t.Errorf("a server name of %q", name)
		}
		// What follows a hello says nothing about it.
		if again, err := serverName(append(bytes.Clone(p), 0, 1, 2)); err != nil || again != name {
			t.Errorf("with bytes behind it: %q, %v, want %q", again, err, name)
		}
	})
}
