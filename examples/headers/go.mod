module headers

go 1.26
