// Package browser tests the page of airlock serve with a real browser: what it shows,
// what its forms do, and that another site can do nothing.
//
// It is a module outside the workspace, since it needs Chromium. Run it with
// make browser. AIRLOCK_CHROMIUM names the browser, if it is not on PATH as chromium.
package browser
