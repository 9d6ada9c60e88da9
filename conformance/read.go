package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// ReadReport reads what [Report.WriteJSON] wrote and holds it against the suite:
// a report that this suite could not have written is an error that says why. It
// may be of an earlier release, whose checks are fewer. A waiver that has expired
// since makes its result a Fail.
func ReadReport(r io.Reader) (*Report, error) {
	var report Report
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&report); err != nil {
		return nil, fmt.Errorf("airlock: conformance: report: %w", err)
	}
	if report.Schema != schema {
		return nil, fmt.Errorf("airlock: conformance: report: schema %q, want %q", report.Schema, schema)
	}
	var errs []error
	if len(report.Results) == 0 {
		errs = append(errs, errors.New("no results"))
	}
	seen := map[string]bool{}
	for i := range report.Results {
		res := &report.Results[i]
		if seen[res.Name()] {
			errs = append(errs, fmt.Errorf("%s is there twice", res.Name()))
		}
		seen[res.Name()] = true
		if err := res.plausible(); err != nil {
			errs = append(errs, err)
		}
	}
	told := report.Summary
	report.finish()
	if !maps.Equal(told, report.Summary) {
		errs = append(errs, fmt.Errorf("the summary %v is not that of the results, %v", told, report.Summary))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("airlock: conformance: report: %w", errors.Join(errs...))
	}
	now := time.Now()
	for i := range report.Results {
		res := &report.Results[i]
		if res.Verdict == Waived && !now.Before(res.Waiver.Expires) {
			res.Verdict, res.Reason = Fail, "its waiver has expired"
		}
	}
	report.finish()
	return &report, nil
}

// plausible says what is wrong with a result.
func (r *Result) plausible() error {
	verdicts := []Verdict{Pass, Fail, RefusedAsDeclared, NotApplicable, NotRun, Inconclusive, Waived, Error}
	reasoned := []Verdict{RefusedAsDeclared, NotApplicable, NotRun, Inconclusive, Error}
	switch {
	case !known(r.Name()):
		return fmt.Errorf("%s: no such check", r.Name())
	case !slices.Contains([]Level{Core, Options, Faults}, r.Level):
		return fmt.Errorf("%s: no level %q", r.Name(), r.Level)
	case !slices.Contains(verdicts, r.Verdict):
		return fmt.Errorf("%s: no verdict %q", r.Name(), r.Verdict)
	case r.Verdict == Fail && (r.Want == "" || r.Got == ""):
		return fmt.Errorf("%s: a failure without what was wanted or got", r.Name())
	case slices.Contains(reasoned, r.Verdict) && r.Reason == "":
		return fmt.Errorf("%s: %s without a reason", r.Name(), r.Verdict)
	case r.Verdict == Waived && (r.Waiver == nil || r.Waiver.Expires.IsZero()):
		return fmt.Errorf("%s: waived without a waiver", r.Name())
	}
	return nil
}
