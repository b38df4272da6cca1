package proxyproto

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func header(src, dst string) Header {
	return Header{netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)}
}

// The examples of the specification are quoted by their section.
var (
	v4 = header("255.255.255.255:65535", "192.168.0.11:443")
	v6 = header("[2001:db8::1]:1", "[::1]:65535")
)

func TestParse(t *testing.T) {
	const sig = "\r\n\r\n\x00\r\nQUIT\n"
	addr4 := "\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x50\x01\xbb"
	for _, tt := range []struct {
		name, in string
		want     Header
		rest     int // bytes that follow the header
		err      string
	}{
		{"2.1: worst case of TCP4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", header("255.255.255.255:65535", "255.255.255.255:65535"), 0, ""},
		{"2.1: TCP6", "PROXY TCP6 2001:db8::1 ::1 1 65535\r\nGET /", v6, 5, ""},
		{"2.1: unknown", "PROXY UNKNOWN\r\nx", Header{}, 1, ""},
		{"2.1: unknown with something behind it", "PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", Header{}, 0, ""},
		{"v1 without end", "PROXY TCP4 1.2.3.4", Header{}, 0, "not complete"},
		{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("x", 200), Header{}, 0, "longer than 107"},
		{"v1 bare line feed", "PROXY TCP4 1.2.3.4 1.2.3.5 1 2\n" + strings.Repeat("x", 200), Header{}, 0, "longer than 107"},
		{"v1 no protocol", "PROXY \r\n", Header{}, 0, "none of TCP4"},
		{"v1 UDP", "PROXY UDP4 1.2.3.4 1.2.3.5 1 2\r\n", Header{}, 0, "none of TCP4"},
		{"v1 fields", "PROXY TCP4 1.2.3.4 1.2.3.5 1\r\n", Header{}, 0, "5 fields"},
		{"v1 two blanks", "PROXY TCP4  1.2.3.4 1.2.3.5 1 2\r\n", Header{}, 0, "7 fields"},
		{"v1 family", "PROXY TCP4 ::1 ::1 1 2\r\n", Header{}, 0, "family"},
		{"v1 mapped", "PROXY TCP4 ::ffff:1.2.3.4 1.2.3.5 1 2\r\n", Header{}, 0, "family"},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", Header{}, 0, "family"},
		{"v1 port", "PROXY TCP4 1.2.3.4 1.2.3.5 65536 2\r\n", Header{}, 0, "port"},
		{"v1 port with sign", "PROXY TCP4 1.2.3.4 1.2.3.5 +1 2\r\n", Header{}, 0, "port"},
		{"v1 port with zero", "PROXY TCP4 1.2.3.4 1.2.3.5 01 2\r\n", Header{}, 0, "port"},
		{"v1 empty port", "PROXY TCP4 1.2.3.4 1.2.3.5  2\r\n", Header{}, 0, "port"},
		{"v2 TCP over IPv4", sig + "\x21\x11\x00\x0c" + addr4 + "GET", header("192.0.2.1:80", "192.0.2.2:443"), 3, ""},
		{"v2 UDP over IPv4", sig + "\x21\x12\x00\x0c" + addr4, header("192.0.2.1:80", "192.0.2.2:443"), 0, ""},
		{"v2 with extensions", sig + "\x21\x11\x00\x10" + addr4 + "\x04\x00\x01x", header("192.0.2.1:80", "192.0.2.2:443"), 0, ""},
		{"v2 local", sig + "\x20\x00\x00\x00rest", Header{}, 4, ""},
		{"v2 local with addresses", sig + "\x20\x11\x00\x0c" + addr4, Header{}, 0, ""},
		{"v2 unix", sig + "\x21\x31\x00\xd8" + strings.Repeat("p", 216), Header{}, 0, ""},
		{"v2 unspecified", sig + "\x21\x00\x00\x00", Header{}, 0, ""},
		{"v2 short", sig + "\x21\x11\x00\x08\x01\x02\x03\x04\x05\x06\x07\x08", Header{}, 0, "take 8 bytes"},
		{"v2 not there yet", sig + "\x21\x11\x00\x0c\x01", Header{}, 0, "not complete"},
		{"v2 only the signature", sig, Header{}, 0, "not complete"},
		{"v2 part of the signature", sig[:5], Header{}, 0, "not complete"},
		{"v2 too long", sig + "\x21\x11\xff\xff", Header{}, 0, "longer than 536"},
		{"v2 of another version", sig + "\x31\x11\x00\x00", Header{}, 0, "version"},
		{"v2 of another family", sig + "\x21\x41\x00\x00", Header{}, 0, "family"},
		{"nothing", "", Header{}, 0, "not complete"},
		{"something else", "GET / HTTP/1.1\r\n", Header{}, 0, "do not begin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, n, err := Parse([]byte(tt.in))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, %v, want an error with %q", got, err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want || n != len(tt.in)-tt.rest {
				t.Errorf("got %v, %d, %v, want %v, %d", got, n, err, tt.want, len(tt.in)-tt.rest)
			}
		})
	}
}

func TestAppend(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    Header
		v1   string
		v2   Header // what version 2 keeps
	}{
		{"IPv4", v4, "PROXY TCP4 255.255.255.255 192.168.0.11 65535 443\r\n", v4},
		{"IPv6", v6, "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", v6},
		{"mapped", header("[::ffff:1.2.3.4]:1", "1.2.3.5:2"), "PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n", header("1.2.3.4:1", "1.2.3.5:2")},
		{"two families", header("1.2.3.4:1", "[::1]:2"), "PROXY UNKNOWN\r\n", header("1.2.3.4:1", "[::1]:2")},
		{"none", Header{}, "PROXY UNKNOWN\r\n", Header{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(AppendV1(nil, tt.h)); got != tt.v1 {
				t.Errorf("version 1: %q, want %q", got, tt.v1)
			}
			b := AppendV2([]byte("x"), tt.h)[1:]
			if got, n, err := Parse(b); err != nil || n != len(b) || got != tt.v2 {
				t.Errorf("version 2: %v, %d of %d, %v, want %v", got, n, len(b), err, tt.v2)
			}
		})
	}
}

// FuzzParse holds that a header is found the same however many bytes follow, that parts of it are incomplete, and that what is read can be written.
func FuzzParse(f *testing.F) {
	f.Add([]byte("PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\nx"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add(AppendV1(nil, v6))
	f.Add(AppendV2(nil, v4))
	f.Add(AppendV2(nil, v6))
	f.Add(AppendV2(nil, Header{}))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, n, err := Parse(p)
		if err != nil {
			if errors.Is(err, ErrIncomplete) && len(p) >= MaxHeader {
				t.Errorf("%d bytes are not enough", len(p))
			}
			return
		}
		if n > len(p) || n > MaxHeader {
			t.Fatalf("a header of %d bytes in %d", n, len(p))
		}
		if again, m, err := Parse(p[:n]); err != nil || again != h || m != n {
			t.Errorf("alone: %v, %d, %v, want %v, %d", again, m, err, h, n)
		}
		for i := range n {
			if _, _, err := Parse(p[:i]); !errors.Is(err, ErrIncomplete) {
				t.Errorf("the first %d of %d bytes: %v, want ErrIncomplete", i, n, err)
			}
		}
		b := AppendV2(nil, h)
		if again, _, err := Parse(b); err != nil || again != h {
			t.Errorf("written and read: %v, %v, want %v", again, err, h)
		}
	})
}
