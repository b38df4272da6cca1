package schema

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// checkSSL is check_ssl_conf of apisix/ssl.lua. Beyond APISIX it wants each key to belong to its certificate,
// because no handshake could use the pair otherwise.
func checkSSL(doc map[string]any) error {
	cert, _ := doc["cert"].(string)
	key, _ := doc["key"].(string)
	if !isSecretRef(cert) && !isSecretRef(key) {
		if err := checkKeyPair(cert, key); err != nil {
			return err
		}
	}
	if doc["type"] == "client" {
		return nil
	}
	certs, _ := doc["certs"].([]any)
	keys, _ := doc["keys"].([]any)
	if len(certs) != len(keys) {
		return errors.New("mismatched number of certs and keys")
	}
	for i := range certs {
		cert, _ := certs[i].(string)
		key, _ := keys[i].(string)
		if isSecretRef(cert) || isSecretRef(key) {
			continue
		}
		if err := checkKeyPair(cert, key); err != nil {
			return fmt.Errorf("failed to handle cert-key pair[%d]: %w", i+1, err)
		}
	}
	if client, ok := doc["client"].(map[string]any); ok {
		if ca, _ := client["ca"].(string); !isSecretRef(ca) {
			if err := checkCertificate(ca); err != nil {
				return fmt.Errorf("failed to validate client_cert: %w", err)
			}
		}
	}
	return nil
}

// The reasons that OpenSSL gives for text that is not PEM; tests of clients match on them.
var (
	errNoCertificate = errors.New("failed to parse cert: PEM_read_bio_X509_AUX() failed")
	errNoKey         = errors.New("failed to parse key: PEM_read_bio_PrivateKey() failed")
)

// checkCertificate wants at least one certificate, and nothing broken among them.
func checkCertificate(text string) error {
	rest := []byte(text)
	found := false
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" && block.Type != "TRUSTED CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("failed to parse cert: %w", err)
		}
		found = true
	}
	if !found {
		return errNoCertificate
	}
	return nil
}

// checkKeyPair wants a certificate chain and the private key of its first certificate. No error contains the key.
func checkKeyPair(cert, key string) error {
	if err := checkCertificate(cert); err != nil {
		return err
	}
	if !hasPrivateKey(key) {
		return errNoKey
	}
	if _, err := tls.X509KeyPair([]byte(cert), []byte(key)); err != nil {
		return fmt.Errorf("failed to parse key: %w", err)
	}
	return nil
}

func hasPrivateKey(text string) bool {
	rest := []byte(text)
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return false
		}
		if block.Type == "PRIVATE KEY" || strings.HasSuffix(block.Type, " PRIVATE KEY") {
			return true
		}
	}
}
