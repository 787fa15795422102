package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/secret"
)

func write(t *testing.T, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // not subject to the umask
		t.Fatal(err)
	}
	return path
}

func TestResolveFile(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ content, want string }{
		"no line end":            {"s3cret", "s3cret"},
		"LF":                     {"s3cret\n", "s3cret"},
		"CRLF":                   {"s3cret\r\n", "s3cret"},
		"one line end only":      {"s3cret\n\n", "s3cret\n"},
		"a CR alone is kept":     {"s3cret\r", "s3cret\r"},
		"blanks are kept":        {" s3 cret \n", " s3 cret "},
		"octets are kept":        {"\xff\x00\xfe\n", "\xff\x00\xfe"},
		"as large as is allowed": {strings.Repeat("x", secret.MaxOctets), strings.Repeat("x", secret.MaxOctets)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, t.TempDir(), "secret", tc.content, 0o600)
			got, err := secret.Resolve("file:"+path, "")
			if err != nil || got != tc.want {
				t.Errorf("Resolve: got %.40q, %v; want %.40q", got, err, tc.want)
			}
		})
	}
}

func TestResolveCredential(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "imap-password", "s3cret\n", 0o400)
	got, err := secret.Resolve("credential:imap-password", dir)
	if err != nil || got != "s3cret" {
		t.Errorf("Resolve: got %q, %v; want s3cret", got, err)
	}
}

func TestResolveErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "empty", "", 0o600)
	write(t, dir, "newline", "\r\n", 0o600)
	write(t, dir, "large", strings.Repeat("hunter2", secret.MaxOctets), 0o600)
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return "file:" + filepath.Join(dir, name) }
	for name, tc := range map[string]struct {
		ref, dir, code, names string
	}{
		"missing":                    {file("nothing"), "", "secret_missing", "nothing"},
		"directory":                  {"file:" + dir, "", "secret_not_file", dir},
		"pipe without a writer":      {file("pipe"), "", "secret_not_file", "pipe"},
		"below a file":               {file("empty/x"), "", "secret_unreadable", "empty/x"},
		"empty":                      {file("empty"), "", "secret_empty", "empty"},
		"a line end only":            {file("newline"), "", "secret_empty", "newline"},
		"too large":                  {file("large"), "", "secret_too_large", "large"},
		"relative path":              {"file:secret", "", "secret_ref_invalid", "file:secret"},
		"no path":                    {"file:", "", "secret_ref_invalid", "file:"},
		"NUL in the path":            {"file:/a\x00b", "", "secret_ref_invalid", "absolute"},
		"no credentials directory":   {"credential:x", "", "secret_ref_invalid", "CREDENTIALS_DIRECTORY"},
		"credential is missing":      {"credential:x", dir, "secret_missing", filepath.Join(dir, "x")},
		"credential without a name":  {"credential:", dir, "secret_ref_invalid", "name of a credential"},
		"credential in a folder":     {"credential:a/b", dir, "secret_ref_invalid", "a/b"},
		"credential above":           {"credential:..", dir, "secret_ref_invalid", ".."},
		"the secret in plain":        {"hunter2", dir, "secret_ref_invalid", "neither"},
		"no reference":               {"", dir, "secret_ref_invalid", "neither"},
		"an unknown kind of secrets": {"env:hunter2", dir, "secret_ref_invalid", "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := secret.Resolve(tc.ref, tc.dir)
			class, code, text, hint := fault.Describe(err)
			if got != "" || class != fault.Permanent || code != tc.code {
				t.Fatalf("Resolve(%q): got %.20q, %s %s (%v); want permanent %s", tc.ref, got, class, code, err, tc.code)
			}
			if hint == "" || !strings.Contains(text, tc.names) {
				t.Errorf("Resolve(%q): got text %q and hint %q; want both, and %q named", tc.ref, text, hint, tc.names)
			}
			if strings.Contains(text+hint, "hunter2") {
				t.Errorf("Resolve(%q): the error holds the secret: %q, %q", tc.ref, text, hint)
			}
		})
	}
}

func TestResolveUnreadable(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root reads every file")
	}
	path := write(t, t.TempDir(), "secret", "hunter2", 0)
	_, err := secret.Resolve("file:"+path, "")
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.Code != "secret_unreadable" || !strings.Contains(e.Hint, path) {
		t.Errorf("Resolve: got %v; want secret_unreadable with %s in the hint", err, path)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for mode, want := range map[os.FileMode]string{
		0o600: "",
		0o400: "",
		0o620: "", // written by others, which is odd, but nothing leaks
		0o640: "its group (mode 0640)",
		0o604: "everyone (mode 0604)",
		0o644: "its group and everyone (mode 0644)",
	} {
		path := write(t, dir, mode.String(), "hunter2", mode)
		got := strings.Join(secret.Warnings("file:"+path), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("Warnings of mode %04o: got %q; want %q", mode, got, want)
		}
		if want != "" && !strings.Contains(got, path) || strings.Contains(got, "hunter2") {
			t.Errorf("Warnings of mode %04o: got %q; want the path and never the content", mode, got)
		}
	}
	for _, ref := range []string{"", "credential:x", "file:" + filepath.Join(dir, "nothing"), "file:" + dir} {
		if got := secret.Warnings(ref); got != nil {
			t.Errorf("Warnings(%q): got %q; want none", ref, got)
		}
	}
}
