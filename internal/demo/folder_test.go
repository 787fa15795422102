package demo

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/postroom/postroom/internal/apply"
	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/secret"
)

func TestTemporaryFolderIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	f, err := openFolder("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.newSecret("anna"); err != nil {
		t.Fatal(err)
	}
	if err := f.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.dir); !os.IsNotExist(err) {
		t.Errorf("got %v, want no folder", err)
	}
}

func TestKeptFolderStays(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "demo")
	for range 2 { // made, and made by an earlier demo
		f, err := openFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.claim(); err != nil {
			t.Fatal(err)
		}
		if err := f.remove(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "postroom.yaml")); err != nil {
		t.Error(err)
	}
}

func TestForeignFoldersAreRefused(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"other files":      {"notes.txt": "mine"},
		"a configuration":  {"postroom.yaml": "data_dir: /var/lib/postroom\n"},
		"a file in it all": {"postroom.yaml": "", "postgresql": "x"},
	} {
		dir := t.TempDir()
		for file, text := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := openFolder(dir)
		if _, code, _, _ := fault.Describe(err); code != "demo_folder_foreign" {
			t.Errorf("%s: got %v, want demo_folder_foreign", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openFolder(file); err == nil {
		t.Error("got no error for a file, want demo_folder_unusable")
	}
}

// TestFilesAreRead wants Postroom to read what the demo writes, also in a folder with an awkward name.
func TestFilesAreRead(t *testing.T) {
	t.Parallel()
	f, err := openFolder(filepath.Join(t.TempDir(), `a "folder": with # blanks`))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.claim(); err != nil {
		t.Fatal(err)
	}
	cfg, warnings, err := config.Load(f.config(), nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("got %q and %v, want the configuration", warnings, err)
	}
	if cfg.DataDir != f.dir || cfg.Admin.Listen != "" || cfg.Database.URL != "" {
		t.Errorf("got %+v, want the folder, no port and a database of its own", cfg)
	}
	if err := f.writeRecords("postroom", 1143, 1110); err != nil {
		t.Fatal(err)
	}
	if _, err := apply.Load([]string{f.records()}); err != nil {
		t.Error(err)
	}
	password, err := f.newSecret("anna")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := secret.Resolve("file:"+f.secret("anna"), ""); err != nil || got != password {
		t.Errorf("got %q and %v, want the password", got, err)
	}
	if w := secret.Warnings("file:" + f.secret("anna")); len(w) > 0 {
		t.Errorf("got %q, want a file that nobody else may read", w)
	}
}
