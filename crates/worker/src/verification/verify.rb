puts "this interpreter runs scripts"
