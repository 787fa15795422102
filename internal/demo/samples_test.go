package demo

import (
	"bytes"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/receipt"
)

func TestSamplesAreAsServersSendThem(t *testing.T) {
	t.Parallel()
	for _, s := range samples {
		raw, err := octets(s.file)
		if err != nil {
			t.Errorf("%s: %v", s.file, err)
			continue
		}
		if bytes.Count(raw, []byte("\n")) != bytes.Count(raw, []byte("\r\n")) || !bytes.HasSuffix(raw, []byte("\r\n")) {
			t.Errorf("%s: not every line ends with CRLF", s.file)
		}
		if bytes.Contains(raw, []byte("@@")) {
			t.Errorf("%s: a line that stands for another file was left", s.file)
		}
	}
}

func TestSampleOfAnUnknownFileFails(t *testing.T) {
	t.Parallel()
	if _, err := octets("anna/nothing.eml"); err == nil {
		t.Error("got no error for a file that is not there")
	}
}

// TestSamplesAreUsed wants no file that nothing shows.
func TestSamplesAreUsed(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, s := range samples {
		used[s.file] = true
	}
	var text strings.Builder
	err := fs.WalkDir(mail, "mail", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(name, ".eml") {
			return err
		}
		octets, err := mail.ReadFile(name)
		text.Write(octets)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = fs.WalkDir(mail, "mail", func(name string, e fs.DirEntry, _ error) error {
		file := strings.TrimPrefix(name, "mail/")
		if !e.IsDir() && !used[file] && !strings.Contains(text.String(), " "+file+"\n") {
			t.Errorf("%s: no sample needs it", file)
		}
		return nil
	})
}

// TestSamplesTellApart wants the size of a message to say which one of its mailbox it is: outcomes are shown by it.
func TestSamplesTellApart(t *testing.T) {
	t.Parallel()
	type key struct {
		box    box
		octets int
	}
	files := map[key]string{}
	for _, s := range samples {
		raw, err := octets(s.file)
		if err != nil {
			t.Fatal(err)
		}
		k := key{s.box, len(raw)}
		if other, ok := files[k]; ok && other != s.file {
			t.Errorf("%s and %s of %s both have %d octets", other, s.file, s.box, len(raw))
		}
		files[k] = s.file
	}
}

// TestSamplesAreMadeUp wants addresses of domains that nobody has (RFC 2606).
func TestSamplesAreMadeUp(t *testing.T) {
	t.Parallel()
	address := regexp.MustCompile(`[A-Za-z0-9._+-]+@([A-Za-z0-9-]+\.)*([A-Za-z0-9-]+\.[A-Za-z]+)`)
	for _, s := range samples {
		raw, err := octets(s.file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range address.FindAllSubmatch(raw, -1) {
			domain := string(m[2])
			if !strings.HasSuffix(domain, ".example") && domain != "example.com" && domain != "example.org" && domain != "example.net" {
				t.Errorf("%s: %s may be somebody's address", s.file, m[0])
			}
		}
	}
}

// TestSamplesShowWhatTheyMust wants each kind of outcome, and sane expectations.
func TestSamplesShowWhatTheyMust(t *testing.T) {
	t.Parallel()
	outcomes, answers := map[receipt.Outcome]int{}, 0
	files := map[string]bool{}
	for _, s := range samples {
		outcomes[s.outcome]++
		if s.answers != "" {
			answers++
			if !files[s.answers] {
				t.Errorf("%s: answers %s, which does not come before it", s.file, s.answers)
			}
		}
		if (s.outcome == "") != (s.copies != "") {
			t.Errorf("%s: got outcome %q and copies %q, want one of them", s.file, s.outcome, s.copies)
		}
		if s.about == "" {
			t.Errorf("%s: it is not said what it shows", s.file)
		}
		files[s.file] = true
	}
	for _, o := range []receipt.Outcome{receipt.Recorded, receipt.Duplicate, receipt.Ignored, receipt.Quarantined} {
		if outcomes[o] == 0 {
			t.Errorf("no sample is %s", o)
		}
	}
	if answers == 0 {
		t.Error("no sample answers another")
	}
}
