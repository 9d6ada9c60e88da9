package conformance

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string     `xml:"classname,attr"`
	Name    string     `xml:"name,attr"`
	Seconds string     `xml:"time,attr"`
	Failure *junitText `xml:"failure,omitempty"`
	Error   *junitText `xml:"error,omitempty"`
	Skipped *junitText `xml:"skipped,omitempty"`
}

type junitText struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the results as JUnit XML.
func (r *Report) WriteJUnit(w io.Writer) error {
	suite := junitSuite{Name: "conformance", Tests: len(r.Results)}
	for i := range r.Results {
		res := &r.Results[i]
		c := junitCase{Class: "conformance." + string(res.Level), Name: res.Name(), Seconds: fmt.Sprintf("%.3f", float64(res.Millis)/1000)}
		switch res.Verdict {
		case Fail:
			suite.Failures++
			c.Failure = &junitText{res.Title, fmt.Sprintf("want: %s\ngot: %s\nrepeat: %s", res.Want, res.Got, res.Repro)}
		case Error:
			suite.Errors++
			c.Error = &junitText{res.Title, res.Reason}
		case NotRun, Inconclusive, Waived:
			suite.Skipped++
			c.Skipped = &junitText{Message: string(res.Verdict) + ": " + res.Reason}
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(suite); err != nil {
		return err
	}
	return enc.Close()
}

// fileName is the name of the report's files without the ending.
func (h *Harness) fileName() string {
	if h.Subject.Name == "" {
		return "conformance"
	}
	return h.Subject.Name
}

// save writes the report into dir as NAME.json and NAME.xml, where NAME is that of the
// subject, otherwise "conformance".
func (r *Report) save(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	name := (&Harness{Subject: r.Subject}).fileName()
	for ending, write := range map[string]func(io.Writer) error{".json": r.WriteJSON, ".xml": r.WriteJUnit} {
		f, err := os.Create(filepath.Join(dir, name+ending))
		if err != nil {
			return err
		}
		if err := write(f); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
