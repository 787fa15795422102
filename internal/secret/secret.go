// Package secret resolves references to secrets: configuration and mailbox records hold a reference, never the secret.
//
// It reads local files only. A secret is returned to the caller and appears in no error, no warning and no log; errors
// and warnings name the file.
package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/postroom/postroom/internal/fault"
)

// MaxOctets is the size of the largest file that is read as a secret.
const MaxOctets = 64 << 10

const (
	filePrefix    = "file:"
	systemdPrefix = "credential:"
)

// Resolve returns the secret that ref names, without one trailing line end (LF or CRLF). A ref is "file:/absolute/path"
// or "credential:name": the file of that name in credentialsDir, which systemd hands a service as
// $CREDENTIALS_DIRECTORY.
//
// Every error is a *fault.Error of class Permanent: secret_ref_invalid, secret_missing, secret_unreadable,
// secret_not_file, secret_too_large, secret_empty.
func Resolve(ref, credentialsDir string) (string, error) {
	path, err := locate(ref, credentialsDir)
	if err != nil {
		return "", err
	}
	octets, err := read(path)
	if err != nil {
		return "", err
	}
	octets, cut := bytes.CutSuffix(octets, []byte("\n"))
	if cut {
		octets = bytes.TrimSuffix(octets, []byte("\r"))
	}
	if len(octets) == 0 {
		return "", permanent("secret_empty", "write the secret into "+path, "secret file %s is empty", path)
	}
	return string(octets), nil
}

// Warnings returns what an admin should mend about the file that ref names, one sentence each. A file that cannot be
// looked at gives none: Resolve says why. Credentials of systemd are protected by it and give none.
func Warnings(ref string) []string {
	path, ok := strings.CutPrefix(ref, filePrefix)
	if !ok {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	var who []string
	if info.Mode().Perm()&0o040 != 0 {
		who = append(who, "its group")
	}
	if info.Mode().Perm()&0o004 != 0 {
		who = append(who, "everyone")
	}
	if who == nil {
		return nil
	}
	return []string{fmt.Sprintf("secret file %s can be read by %s (mode %04o): chmod 0600 it",
		path, strings.Join(who, " and "), info.Mode().Perm())}
}

// locate turns ref into the path of a file. The text of a reference without a known scheme is not repeated in the
// error: it may be the secret itself, written in the wrong place.
func locate(ref, credentialsDir string) (string, error) {
	const hint = `write "file:" and an absolute path, or "credential:" and the name of a systemd credential`
	if path, ok := strings.CutPrefix(ref, filePrefix); ok {
		if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
			return "", permanent("secret_ref_invalid", hint, "secret reference %q has no absolute path", ref)
		}
		return path, nil
	}
	name, ok := strings.CutPrefix(ref, systemdPrefix)
	switch {
	case !ok:
		return "", permanent("secret_ref_invalid", hint, "secret reference is neither file:… nor credential:…")
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
		return "", permanent("secret_ref_invalid", hint, "%q is not the name of a credential", name)
	case credentialsDir == "":
		return "", permanent("secret_ref_invalid",
			"add LoadCredential="+name+":/path to the systemd unit, or name a file instead (password_file)",
			"credential %q is asked for, but $CREDENTIALS_DIRECTORY is not set", name)
	}
	return filepath.Join(credentialsDir, name), nil
}

// read returns the octets of the regular file at path. It never blocks on a pipe or a device.
func read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, classify(path, err)
	}
	defer func() { _ = f.Close() }() // only read: nothing can be lost
	info, err := f.Stat()
	if err != nil {
		return nil, classify(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, permanent("secret_not_file", "name a regular file", "secret %s is not a regular file", path)
	}
	octets, err := io.ReadAll(io.LimitReader(f, MaxOctets+1))
	if err != nil {
		return nil, classify(path, err)
	}
	if len(octets) > MaxOctets {
		return nil, permanent("secret_too_large", "check that the reference names the right file",
			"secret file %s is larger than %d octets", path, MaxOctets)
	}
	return octets, nil
}

func classify(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return permanent("secret_missing", "create "+path+" with the secret in it, or mend the reference",
			"read a secret: %w", err)
	}
	return permanent("secret_unreadable", "let the user that runs Postroom read "+path, "read a secret: %w", err)
}

func permanent(code, hint, format string, args ...any) error {
	return fault.New(fault.Permanent, code, hint, fmt.Errorf(format, args...))
}
