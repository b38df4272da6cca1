package userspace

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"time"
)

// maxHello bounds the bytes of a ClientHello, records included. Browsers send less than 2 KiB, with post-quantum keys.
const maxHello = 16 << 10

var (
	errHelloIncomplete = errors.New("ClientHello is not complete")
	errHelloTooLong    = errors.New("ClientHello is too long")
	errNotTLS          = errors.New("bytes are no TLS handshake")
	errBadServerName   = errors.New("server name of the ClientHello is no host name")
)

// serverName finds the server name in the bytes with which a TLS connection begins; it is empty when the client sends none. errHelloIncomplete asks for more bytes,
// errNotTLS means that they are something else (RFC 8446 sections 4.1.2 and 5.1; a handshake message may be spread over records).
func serverName(p []byte) (string, error) {
	rest, need := p, -1 // need is the length of the handshake message
	var message []byte
	for need < 0 || len(message) < need {
		if len(rest) > 0 && rest[0] != 22 || len(rest) > 1 && rest[1] != 3 {
			return "", errNotTLS
		}
		if len(rest) < 5 {
			return "", errHelloIncomplete
		}
		n := int(binary.BigEndian.Uint16(rest[3:5]))
		if n == 0 {
			return "", errNotTLS // a record of a handshake is not empty
		}
		body := rest[5:min(len(rest), 5+n)]
		message = append(message, body...)
		if need < 0 && len(message) >= 4 {
			if message[0] != 1 {
				return "", errNotTLS
			}
			if need = 4 + int(message[1])<<16 + int(message[2])<<8 + int(message[3]); need > maxHello {
				return "", errHelloTooLong
			}
		}
		if len(body) < n {
			return "", errHelloIncomplete // crypto/tls reads whole records
		}
		rest = rest[len(body)+5:]
	}
	return parseHello(p)
}

// parseHello has crypto/tls read a complete ClientHello.
func parseHello(p []byte) (name string, err error) {
	seen := false
	conf := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		name, seen = hello.ServerName, true
		return nil, errHelloSeen
	}}
	err = tls.Server(&readOnlyConn{r: bytes.NewReader(p)}, conf).Handshake()
	if !seen {
		return "", err
	}
	if !hostName(name) {
		return "", errBadServerName
	}
	return name, nil
}

// hostName tells whether name has the signs of a host name only (RFC 6066 section 3), or is empty; crypto/tls takes nearly everything. "_" is in use.
func hostName(name string) bool {
	return len(name) <= 255 && strings.IndexFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_'
	}) < 0
}

var errHelloSeen = errors.New("ClientHello was seen")

// readOnlyConn lets crypto/tls read bytes that are there already. What it writes, an alert, goes nowhere.
type readOnlyConn struct{ r io.Reader }

func (c *readOnlyConn) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (*readOnlyConn) Write(p []byte) (int, error)        { return len(p), nil }
func (*readOnlyConn) Close() error                       { return nil }
func (*readOnlyConn) LocalAddr() net.Addr                { return nil }
func (*readOnlyConn) RemoteAddr() net.Addr               { return nil }
func (*readOnlyConn) SetDeadline(time.Time) error        { return nil }
func (*readOnlyConn) SetReadDeadline(t time.Time) error  { return nil }
func (*readOnlyConn) SetWriteDeadline(t time.Time) error { return nil }

// prefixConn gives out bytes that were read ahead before those of the connection.
type prefixConn struct {
	net.Conn
	pre []byte
}

func (c *prefixConn) Read(p []byte) (int, error) {
	if len(c.pre) > 0 {
		n := copy(p, c.pre)
		c.pre = c.pre[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
