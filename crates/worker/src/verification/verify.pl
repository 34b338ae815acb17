print "this interpreter runs scripts\n";
