// Package proxyproto reads and writes the header of the PROXY protocol, versions 1 and 2, by which a proxy tells the next one who the client is
// (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt). It does no I/O.
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// MaxHeader is the longest header that Parse accepts, in bytes: version 2 with this much of extensions. Version 1 has at most 107.
const MaxHeader = 16 + 520

const maxV1 = 107

// signature begins a header of version 2.
var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

var v1Prefix = []byte("PROXY ")

// Header is what a header says.
type Header struct {
	// Source is the client and Destination what it connected to. They are invalid for a connection of the proxy itself, such as a health check
	// (LOCAL in version 2), and when the proxy does not know them (UNKNOWN in version 1).
	Source, Destination netip.AddrPort
}

// ErrIncomplete means that more bytes are needed.
var ErrIncomplete = errors.New("header is not complete")

// Parse reads the header at the beginning of p and returns its length. It needs at most MaxHeader bytes to decide.
func Parse(p []byte) (h Header, n int, err error) {
	switch {
	case hasPrefix(p, signature):
		if len(p) < 16 {
			return h, 0, ErrIncomplete
		}
		return parseV2(p)
	case hasPrefix(p, v1Prefix):
		return parseV1(p)
	}
	return h, 0, errors.New("bytes do not begin with a PROXY protocol header")
}

// hasPrefix tells whether p begins with prefix, as far as it is there.
func hasPrefix(p, prefix []byte) bool {
	return len(p) > 0 && bytes.HasPrefix(p, prefix[:min(len(p), len(prefix))]) || len(p) == 0
}

func parseV1(p []byte) (h Header, n int, err error) {
	end := bytes.Index(p[:min(len(p), maxV1)], []byte("\r\n"))
	if end < 0 {
		if len(p) < maxV1 {
			return h, 0, ErrIncomplete
		}
		return h, 0, fmt.Errorf("line of version 1 is longer than %d bytes", maxV1)
	}
	fields := strings.Split(string(p[:end]), " ")
	if len(fields) < 2 {
		return h, 0, errors.New("line of version 1 has no protocol")
	}
	var v4 bool
	switch fields[1] {
	case "UNKNOWN":
		return h, end + 2, nil // what follows is to be ignored
	case "TCP4":
		v4 = true
	case "TCP6":
	default:
		return h, 0, fmt.Errorf("protocol %.16q of version 1 is none of TCP4, TCP6, UNKNOWN", fields[1])
	}
	if len(fields) != 6 {
		return h, 0, fmt.Errorf("line of version 1 has %d fields, want 6", len(fields))
	}
	if h.Source, err = endpoint(fields[2], fields[4], v4); err != nil {
		return Header{}, 0, err
	}
	if h.Destination, err = endpoint(fields[3], fields[5], v4); err != nil {
		return Header{}, 0, err
	}
	return h, end + 2, nil
}

func endpoint(addr, port string, v4 bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" || a.Is4() != v4 {
		return netip.AddrPort{}, fmt.Errorf("address %.48q of version 1 is not of the family that it names", addr)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' || port[0] == '+' {
		return netip.AddrPort{}, fmt.Errorf("port %.16q of version 1 is not a number from 0 to 65535", port)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// Commands, families and transports of version 2 (section 2.2).
const (
	cmdLocal = 0x20
	cmdProxy = 0x21

	famUnspec = 0x0
	famInet   = 0x1
	famInet6  = 0x2
	famUnix   = 0x3

	transStream = 0x1
	transDgram  = 0x2
)

func parseV2(p []byte) (h Header, n int, err error) {
	length := int(binary.BigEndian.Uint16(p[14:16]))
	n = 16 + length
	switch {
	case p[12] != cmdLocal && p[12] != cmdProxy:
		return h, 0, fmt.Errorf("version and command 0x%02x are not those of version 2", p[12])
	case n > MaxHeader:
		return h, 0, fmt.Errorf("header of %d bytes is longer than %d", n, MaxHeader)
	case len(p) < n:
		return h, 0, ErrIncomplete
	}
	if p[12] == cmdLocal {
		return h, n, nil
	}
	family, transport := p[13]>>4, p[13]&15
	if family > famUnix || transport > transDgram {
		return h, 0, fmt.Errorf("family and transport 0x%02x are not those of version 2", p[13])
	}
	size := 0
	switch family {
	case famInet:
		size = 4
	case famInet6:
		size = 16
	case famUnspec, famUnix:
		return h, n, nil // nothing that is an address here
	}
	body := p[16:n]
	if len(body) < 2*size+4 {
		return h, 0, fmt.Errorf("addresses take %d bytes, want %d", len(body), 2*size+4)
	}
	src, _ := netip.AddrFromSlice(body[:size])
	dst, _ := netip.AddrFromSlice(body[size : 2*size])
	ports := body[2*size:]
	h.Source = netip.AddrPortFrom(src.Unmap(), binary.BigEndian.Uint16(ports))
	h.Destination = netip.AddrPortFrom(dst.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	return h, n, nil
}

// AppendV1 appends a header of version 1, which is what nginx and APISIX send. Invalid addresses, or addresses of two families, give UNKNOWN.
func AppendV1(b []byte, h Header) []byte {
	src, dst := h.Source.Addr().Unmap(), h.Destination.Addr().Unmap()
	if !src.IsValid() || !dst.IsValid() || src.Is4() != dst.Is4() {
		return append(b, "PROXY UNKNOWN\r\n"...)
	}
	b = append(b, "PROXY TCP6 "...)
	if src.Is4() {
		b[len(b)-2] = '4'
	}
	b = append(src.WithZone("").AppendTo(b), ' ')
	b = append(dst.WithZone("").AppendTo(b), ' ')
	b = append(strconv.AppendUint(b, uint64(h.Source.Port()), 10), ' ')
	b = strconv.AppendUint(b, uint64(h.Destination.Port()), 10)
	return append(b, '\r', '\n')
}

// AppendV2 appends a header of version 2 for a stream connection. Invalid addresses give LOCAL; addresses of two families go as IPv6.
func AppendV2(b []byte, h Header) []byte {
	b = append(b, signature...)
	src, dst := h.Source.Addr().Unmap(), h.Destination.Addr().Unmap()
	switch {
	case !src.IsValid() || !dst.IsValid():
		return append(b, cmdLocal, 0, 0, 0)
	case src.Is4() && dst.Is4():
		b = append(b, cmdProxy, famInet<<4|transStream, 0, 12)
		s, d := src.As4(), dst.As4()
		b = append(append(b, s[:]...), d[:]...)
	default:
		b = append(b, cmdProxy, famInet6<<4|transStream, 0, 36)
		s, d := src.As16(), dst.As16()
		b = append(append(b, s[:]...), d[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, h.Source.Port())
	return binary.BigEndian.AppendUint16(b, h.Destination.Port())
}
