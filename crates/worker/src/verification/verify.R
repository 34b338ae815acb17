cat("this interpreter runs scripts\n")
