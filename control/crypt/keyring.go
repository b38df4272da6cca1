// Package crypt encrypts what the store must not hold in the clear: the fields that plugins mark in
// encrypt_fields, and private keys of certificates. Cipher and encoding are those of APISIX
// (apisix/core/data_encryption.lua), so that values written by either can be read by the other: AES in CBC mode
// with PKCS#7 padding, the key itself as the initialisation vector, and base64. A fixed vector hides neither
// equal values nor equal beginnings, and nothing detects a changed ciphertext: this keeps secrets out of
// backups and logs, it does not protect a store that an attacker can write to.
package crypt

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// ErrDecrypt is wrapped by every failure to decrypt.
var ErrDecrypt = errors.New("decrypt failed")

// Keyring holds the keys of apisix.data_encryption.keyring. It is immutable and safe for concurrent use.
type Keyring struct {
	keys []key
}

type key struct {
	block cipher.Block
	iv    []byte
}

// NewKeyring makes a keyring of keys of 16 bytes (AES-128) or 32 bytes (AES-256). The first one encrypts, all of
// them are tried to decrypt, so a new key is put in front of the old ones. An empty keyring leaves every
// value as it is, as APISIX does. The error names the place of a bad key and never the key.
func NewKeyring(keys []string) (*Keyring, error) {
	k := &Keyring{}
	for i, text := range keys {
		if len(text) != 16 && len(text) != 32 {
			return nil, fmt.Errorf("read data_encryption.keyring: entry %d has %d bytes: it must have 16 (AES-128) or 32 (AES-256)",
				i+1, len(text))
		}
		block, err := aes.NewCipher([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("read data_encryption.keyring: entry %d: %w", i+1, err)
		}
		k.keys = append(k.keys, key{block: block, iv: []byte(text[:aes.BlockSize])})
	}
	return k, nil
}

// Enabled says whether there is a key at all.
func (k *Keyring) Enabled() bool { return k != nil && len(k.keys) > 0 }

// Encrypt encrypts with the first key. Without a key the value comes back as it is.
func (k *Keyring) Encrypt(plain string) string {
	if !k.Enabled() {
		return plain
	}
	// PKCS#7: always at least one byte of padding, each telling their number.
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	data := make([]byte, 0, len(plain)+padding)
	data = append(data, plain...)
	for range padding {
		data = append(data, byte(padding))
	}
	cipher.NewCBCEncrypter(k.keys[0].block, k.keys[0].iv).CryptBlocks(data, data)
	return base64.StdEncoding.EncodeToString(data)
}

// Decrypt tries each key in turn. Without a key the value comes back as it is. The error wraps ErrDecrypt
// and does not contain the value. A wrong key is told by its padding only, so about one in 256 wrong keys yields
// garbage instead of an error.
func (k *Keyring) Decrypt(text string) (string, error) {
	if !k.Enabled() {
		return text, nil
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("%w: the value is not base64", ErrDecrypt)
	}
	if len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return "", fmt.Errorf("%w: the value is not made of whole cipher blocks", ErrDecrypt)
	}
	plain := make([]byte, len(data))
	for _, key := range k.keys {
		cipher.NewCBCDecrypter(key.block, key.iv).CryptBlocks(plain, data)
		if n, ok := unpadded(plain); ok {
			return string(plain[:n]), nil
		}
	}
	return "", fmt.Errorf("%w: no key of data_encryption.keyring fits the value", ErrDecrypt)
}

// unpadded is the length of the data without its padding.
func unpadded(data []byte) (int, bool) {
	padding := int(data[len(data)-1])
	if padding < 1 || padding > aes.BlockSize || padding > len(data) {
		return 0, false
	}
	for _, b := range data[len(data)-padding:] {
		if int(b) != padding {
			return 0, false
		}
	}
	return len(data) - padding, true
}

// pemStart begins a private key in the clear; whatever else stands in a key field is taken for encrypted
// (apisix/ssl.lua).
const pemStart = "---"

// EncryptKey encrypts a private key in PEM form. Anything else, such as a key that is encrypted already or a
// reference to a secret, comes back as it is.
func (k *Keyring) EncryptKey(pem string) string {
	if !strings.HasPrefix(pem, pemStart) {
		return pem
	}
	return k.Encrypt(pem)
}

// DecryptKey is the reverse of EncryptKey. A key in PEM form and a reference to a secret come back as they are.
func (k *Keyring) DecryptKey(text string) (string, error) {
	if strings.HasPrefix(text, pemStart) || strings.HasPrefix(text, "$") {
		return text, nil
	}
	return k.Decrypt(text)
}
