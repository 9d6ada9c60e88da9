package demo

import _ "embed"

// PythonWorker is the file of Celery workers that do the jobs of the shop.
//
//go:embed staff.py
var PythonWorker string
