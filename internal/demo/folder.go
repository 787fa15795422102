package demo

import (
	"bytes"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"text/template"

	"github.com/postroom/postroom/internal/fault"
)

// marker is the first line of a demo's configuration: a folder without it is not ours to write to.
const marker = "# Made by \"postroom demo\", which makes it and its records anew each time."

//go:embed records.yaml.tmpl postroom.yaml.tmpl people.sql
var templates embed.FS

// folder is where a run keeps everything.
type folder struct {
	dir  string // absolute
	temp bool   // to be removed at the end
}

// openFolder takes dir, which must be empty, missing or of another demo; or makes a temporary one if dir is "".
func openFolder(dir string) (*folder, error) {
	if dir != "" {
		return openKept(dir)
	}
	dir, err := os.MkdirTemp("", "postroom-demo-")
	if err != nil {
		return nil, unusable(err)
	}
	f := &folder{temp: true}
	if f.dir, err = filepath.Abs(dir); err == nil && os.Geteuid() == 0 {
		// As root, PostgreSQL runs as somebody else, who has to pass.
		err = os.Chmod(f.dir, 0o711) //nolint:gosec // it shows nothing: what is secret in it is closed
	}
	if err != nil {
		return nil, errors.Join(unusable(err), os.RemoveAll(dir))
	}
	return f, nil
}

func openKept(dir string) (*folder, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, unusable(err)
	}
	f := &folder{dir: abs}
	entries, err := os.ReadDir(abs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, unusable(err)
	}
	if len(entries) > 0 {
		if text, err := os.ReadFile(f.config()); err != nil || !bytes.HasPrefix(text, []byte(marker)) {
			return nil, fault.New(fault.Permanent, "demo_folder_foreign",
				"Name a folder that is empty, does not exist, or was made by an earlier demo.",
				fmt.Errorf("%s holds something else than a demo", abs))
		}
		return f, nil
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.MkdirAll(abs, mode); err != nil {
		return nil, unusable(err)
	}
	return f, nil
}

func unusable(err error) error {
	return fault.New(fault.Permanent, "demo_folder_unusable", "Name a folder that you may write to with --dir, or in $TMPDIR.",
		fmt.Errorf("the demo's folder: %w", err))
}

// remove removes a temporary folder.
func (f *folder) remove() error {
	if !f.temp {
		return nil
	}
	return os.RemoveAll(f.dir)
}

func (f *folder) config() string            { return filepath.Join(f.dir, "postroom.yaml") }
func (f *folder) records() string           { return filepath.Join(f.dir, "records.yaml") }
func (f *folder) log() string               { return filepath.Join(f.dir, "postroom.log") }
func (f *folder) ca() string                { return filepath.Join(f.dir, "ca.pem") }
func (f *folder) secret(name string) string { return filepath.Join(f.dir, "secrets", name) }

// claim marks the folder as a demo's before anything else is put into it.
func (f *folder) claim() error {
	return f.write(f.config(), "postroom.yaml.tmpl", struct{ Marker, Dir string }{marker, f.dir})
}

// newSecret makes a password and keeps it in its file.
func (f *folder) newSecret(name string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(f.secret(name)), 0o700); err != nil {
		return "", unusable(err)
	}
	password := rand.Text()
	if err := os.WriteFile(f.secret(name), []byte(password+"\n"), 0o600); err != nil {
		return "", unusable(err)
	}
	return password, nil
}

// values is what the records' template is filled with.
type values struct {
	Program, Config, Records, CAFile, Secrets string
	Host                                      string
	IMAPPort, POP3Port                        int
	Anna, Support, Forward                    box
}

// writeRecords writes the file that is applied.
func (f *folder) writeRecords(program string, imapPort, pop3Port int) error {
	return f.write(f.records(), "records.yaml.tmpl", values{
		Program: program, Config: f.config(), Records: f.records(), CAFile: f.ca(), Secrets: f.secret(""),
		Host: serverAddress, IMAPPort: imapPort, POP3Port: pop3Port,
		Anna: anna, Support: support, Forward: forward,
	})
}

func (f *folder) write(path, name string, data any) error {
	t, err := template.New(name).Funcs(template.FuncMap{"quote": strconv.Quote, "word": ShellWord}).ParseFS(templates, name)
	if err != nil {
		return fmt.Errorf("read a template: %w", err)
	}
	var text bytes.Buffer
	if err := t.Execute(&text, data); err != nil {
		return fmt.Errorf("fill in a template: %w", err)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return unusable(err)
	}
	return nil
}
