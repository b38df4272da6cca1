package compile

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/snapshot"
)

// sslUnit is a certificate after the first stage.
type sslUnit struct {
	ssl *snapshot.SSL
	// off says that the certificate is not served; it may still be an upstream's client certificate.
	off bool
}

// clientCert is the pair for an upstream that refers to this certificate, or false.
func (u *sslUnit) clientCert() (snapshot.KeyPair, bool) {
	if u.ssl.Type != "client" || len(u.ssl.Pairs) == 0 {
		return snapshot.KeyPair{}, false
	}
	return u.ssl.Pairs[0], true
}

// privateKey resolves and decrypts a private key.
func (x *examination) privateKey(text string) (string, error) {
	key, err := x.c.keyring.DecryptKey(text)
	if err != nil {
		return "", fmt.Errorf("failed to decrypt previous encrypted key: %w", err)
	}
	return key, nil
}

// ssl checks and compiles a certificate, in the order of check_ssl_conf in apisix/ssl.lua.
func (x *examination) ssl(m *model.SSL) (*sslUnit, error) {
	unit := &sslUnit{
		off: m.Status != nil && *m.Status == 0,
		ssl: &snapshot.SSL{ID: x.key.ID, Type: m.Type, SNIs: m.SNIs, Protocols: m.SSLProtocols},
	}
	if m.SNI != "" {
		unit.ssl.SNIs = []string{m.SNI}
	}
	if err := x.addPair(unit.ssl, m.Cert, m.Key, "cert", "key"); err != nil {
		return nil, err
	}
	if m.Type == "client" {
		return unit, nil
	}
	if len(m.Certs) != len(m.Keys) {
		return nil, errors.New("mismatched number of certs and keys")
	}
	for i := range m.Certs {
		err := x.addPair(unit.ssl, m.Certs[i], m.Keys[i], fmt.Sprintf("certs[%d]", i), fmt.Sprintf("keys[%d]", i))
		if err != nil {
			return nil, fmt.Errorf("failed to handle cert-key pair[%d]: %w", i+1, err)
		}
	}
	if m.Client != nil {
		r := resolver{env: x.c.env}
		ca := r.str(m.Client.CA, "client.ca")
		if len(r.unresolved) > 0 {
			// Serving without the CA would let clients in that nobody checked.
			return nil, errors.New(r.unresolved[0])
		}
		if err := checkCerts(ca); err != nil {
			return nil, fmt.Errorf("failed to validate client_cert: %w", err)
		}
		unit.ssl.ClientCA, unit.ssl.Depth, unit.ssl.SkipURIs = ca, m.Client.Depth, m.Client.SkipMTLSURIRegex
	}
	return unit, nil
}

// addPair adds a certificate with its key. A pair with a reference that does not resolve is left out, with a warning:
// what stands there is not a certificate.
func (x *examination) addPair(ssl *snapshot.SSL, cert, key, certField, keyField string) error {
	if cert == "" && key == "" {
		return nil
	}
	r := resolver{env: x.c.env}
	cert, key = r.str(cert, certField), r.str(key, keyField)
	if len(r.unresolved) > 0 {
		for _, note := range r.unresolved {
			x.warn("%s; the certificate is not served", note)
		}
		return nil
	}
	key, err := x.privateKey(key)
	if err != nil {
		return err
	}
	if err := checkPair(cert, key); err != nil {
		return err
	}
	ssl.Pairs = append(ssl.Pairs, snapshot.KeyPair{Cert: cert, Key: key})
	return nil
}

// What APISIX answers, in the words of OpenSSL, for text that is not PEM; clients match on it (t/admin/ssl2.t).
var (
	errNoCert = errors.New("failed to parse cert: PEM_read_bio_X509_AUX() failed")
	errNoKey  = errors.New("failed to parse key: PEM_read_bio_PrivateKey() failed")
)

// checkPair says whether a certificate chain and a private key belong together.
func checkPair(cert, key string) error {
	if err := checkCerts(cert); err != nil {
		return err
	}
	if block, _ := pem.Decode([]byte(key)); block == nil {
		return errNoKey
	}
	if _, err := tls.X509KeyPair([]byte(cert), []byte(key)); err != nil {
		return fmt.Errorf("failed to parse key: %w", err)
	}
	return nil
}

// checkCerts says whether a text has certificates in PEM, and only sound ones.
func checkCerts(text string) error {
	found := false
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("failed to parse cert: %w", err)
		}
		found = true
	}
	if !found {
		return errNoCert
	}
	return nil
}
