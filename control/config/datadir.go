package config

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const systemDataDir = "/var/lib/sluice"

// DataDir is the directory of everything that the gateway keeps: sluice.data_dir (which SLUICE_DATA_DIR
// overrides), else /var/lib/sluice for root where that can be written, else sluice below XDG_STATE_HOME, else
// ~/.local/state/sluice. It does not create the directory.
func DataDir(c *Config, env func(string) (string, bool)) (string, error) {
	return dataDir(c.Sluice.DataDir, env, os.Geteuid() == 0 && writable(systemDataDir))
}

func dataDir(configured string, env func(string) (string, bool), system bool) (string, error) {
	if configured != "" {
		dir, err := filepath.Abs(configured)
		if err != nil {
			return "", errors.New("find data directory: sluice.data_dir is relative and the working directory is gone")
		}
		return dir, nil
	}
	if system {
		return systemDataDir, nil
	}
	// The XDG Base Directory Specification tells to ignore a relative path.
	if state, ok := env("XDG_STATE_HOME"); ok && filepath.IsAbs(state) {
		return filepath.Join(state, "sluice"), nil
	}
	if home, ok := env("HOME"); ok && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "sluice"), nil
	}
	return "", errors.New("find data directory: neither XDG_STATE_HOME nor HOME is set: set SLUICE_DATA_DIR or sluice.data_dir")
}

// writable says whether dir can be written, or made. Root may write what the mode forbids, but not to a
// file system that is mounted read-only, as containers have it.
func writable(dir string) bool {
	for {
		err := unix.Access(dir, unix.W_OK)
		if !errors.Is(err, unix.ENOENT) || dir == "/" {
			return err == nil
		}
		dir = filepath.Dir(dir)
	}
}

// File is the path of the access log's file: "" when the log is off, "-" for standard output, else an absolute
// path. What is not absolute is below dataDir.
func (l AccessLog) File(dataDir string) string {
	switch {
	case l.Path == "off":
		return ""
	case l.Path == "-" || l.Path == "/dev/stdout":
		return "-"
	case filepath.IsAbs(l.Path):
		return l.Path
	}
	return filepath.Join(dataDir, l.Path)
}
