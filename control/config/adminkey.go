package config

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	adminKeyFile   = "admin_key"
	adminKeyMaxLen = 4096
	adminKeyMinLen = 16
)

// KeySource says where the key comes from that may write through the Admin API.
type KeySource struct {
	// Env is the environment variable that holds it, "" when none does.
	Env string
	// File is the path of the file that holds it, "" when none does.
	File string
	// Created says that File was written by this call.
	Created bool
}

// AdminKeys are the keys that the Admin API takes. The environment variable SLUICE_ADMIN_KEY stands for every
// configured key with the role admin. When there is no such key at all, one of 32 random hexadecimal characters
// is generated and kept, for the next start too, in the file admin_key of dataDir with mode 0600. The caller
// must hold the lock of dataDir, or start no second instance on it.
func AdminKeys(c *Config, dataDir string, env func(string) (string, bool)) ([]AdminKey, KeySource, error) {
	if v, ok := env("SLUICE_ADMIN_KEY"); ok && v != "" {
		if strings.TrimSpace(v) != v {
			return nil, KeySource{}, errors.New("read SLUICE_ADMIN_KEY: it begins or ends with blanks")
		}
		keys := []AdminKey{{Name: "admin", Key: Secret(v), Role: "admin"}}
		for _, k := range c.Deployment.Admin.Keys {
			if !k.writes() {
				keys = append(keys, k)
			}
		}
		return keys, KeySource{Env: "SLUICE_ADMIN_KEY"}, nil
	}
	keys := append([]AdminKey(nil), c.Deployment.Admin.Keys...)
	if !c.Deployment.Admin.GenerateKey {
		return keys, KeySource{}, nil
	}
	src := KeySource{File: filepath.Join(dataDir, adminKeyFile)}
	key, err := readAdminKey(src.File)
	if errors.Is(err, fs.ErrNotExist) {
		key, src.Created, err = createAdminKey(src.File)
	}
	if err != nil {
		return nil, KeySource{}, err
	}
	return append(keys, AdminKey{Name: "admin", Key: key, Role: "admin"}), src, nil
}

func readAdminKey(path string) (Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("open admin key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read admin key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("read admin key: %s is not a regular file: remove it and start again", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("read admin key: others may read %s (mode %#o): run chmod 600 on it, or remove it to get a new key",
			path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, adminKeyMaxLen+1))
	if err != nil {
		return "", fmt.Errorf("read admin key: %w", err)
	}
	key := strings.TrimSpace(string(data))
	if len(data) > adminKeyMaxLen || len(key) < adminKeyMinLen || !fieldValue(key) || strings.Contains(key, " ") {
		return "", fmt.Errorf("read admin key: %s does not hold a key of %d to 256 visible characters: remove it to get a new one",
			path, adminKeyMinLen)
	}
	return Secret(key), nil
}

// createAdminKey writes the key beside its place and links it there, so that a file under the final name is
// always whole and never overwritten.
func createAdminKey(path string) (_ Secret, created bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("store admin key: %w", err)
		}
	}()
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", false, err
	}
	raw := make([]byte, 16)
	rand.Read(raw) // never fails: it ends the process instead
	key := hex.EncodeToString(raw)

	tmp, err := os.CreateTemp(dir, adminKeyFile+".*.tmp") // mode 0600
	if err != nil {
		return "", false, err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(key + "\n")
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return "", false, err
	}
	err = os.Link(tmp.Name(), path)
	if errors.Is(err, fs.ErrExist) { // another start was faster: its key counts
		k, err := readAdminKey(path)
		return k, false, err
	}
	if err != nil {
		return "", false, err
	}
	return Secret(key), true, syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
